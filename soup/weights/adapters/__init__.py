"""Adapters of PEFT: what each stands for, merged into its base, and written as an adapter again."""

from soup.weights.adapters.adapted import Adapted
from soup.weights.adapters.folder import Adapter, is_adapter, named_base, require_one_base

__all__ = ["Adapted", "Adapter", "is_adapter", "named_base", "require_one_base"]
