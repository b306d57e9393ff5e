"""Studies of a finished sweep: the experiments of the paper, each a file.

A study is pure: it gets models, examples and a function that answers with logits (`bench.Bench`),
and returns a table, a figure and a sentence that is computed from the table.
"""

from importlib import import_module

from soup.studies.study import Study


def study_of(name: str) -> Study:
    """The study of a name in `soup.config.study_names.STUDIES`."""
    study: Study = import_module(f"soup.studies.{name.replace('-', '_')}").STUDY
    return study
