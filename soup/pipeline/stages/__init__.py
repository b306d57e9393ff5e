"""The stages as plain functions: a project in, files written, facts for the record out.

Each reads what the stages before it wrote, and returns what a later one or a person wants to know;
`summary` is the line that is shown. What wires them together stands in `flows/` and `dvc.yaml`.
"""
