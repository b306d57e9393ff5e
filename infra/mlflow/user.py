"""Make an MLflow user for one person or program, or change a user's permission or password.

    python user.py NAME [READ | EDIT | MANAGE] [--new-password]

The permission is for all experiments and registered models: READ can see them, EDIT can also log,
register and promote, MANAGE can also delete. A new user gets EDIT by default. Users have full
permission on what they made themselves, and cannot see or change other users. The password is
MLFLOW_USER_PASSWORD, or random; a random password is printed once, because MLflow keeps only its
hash. The program must run as an administrator (rest.py).
"""

import argparse
import os
import re
import secrets
import sys

from rest import Refused, ask

KINDS = ("experiment", "registered_model")
PERMISSIONS = ("READ", "EDIT", "MANAGE")


def make(name: str, password: str) -> bool:
    """Make the user if it does not exist; return whether it is new."""
    try:
        ask("users/create", {"username": name, "password": password})
    except Refused as error:
        if error.code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def grant(name: str, permission: str) -> None:
    """Set the permission on everything, in place of the previous permission."""
    for kind in KINDS:
        whose = {"username": name, "resource_type": kind, "resource_id": "*"}
        try:
            ask("users/permissions/revoke", whose, api="3.0")
        except Refused as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        ask("users/permissions/grant", whose | {"permission": permission}, api="3.0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("permission", nargs="?", choices=PERMISSIONS)
    parser.add_argument("--new-password", action="store_true", help="replace a forgotten one")
    told = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", told.name):
        parser.error(f"{told.name!r} is no name: letters, digits and ._@- only, 64 at most")
    given = os.environ.get("MLFLOW_USER_PASSWORD", "")
    password = given or secrets.token_urlsafe(24)
    new = make(told.name, password)
    if not new and (told.new_password or given):
        ask("users/update-password", {"username": told.name, "password": password}, "PATCH")
    permission = told.permission or ("EDIT" if new else "")
    if permission:
        grant(told.name, permission)
    may = f"may {permission}" if permission else "may what it might before"
    print(f"{told.name} {'is made' if new else 'was there'}, and {may}")
    if not given and (new or told.new_password):
        print(f"password (told this once): {password}")


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        sys.exit(f"error: MLflow refuses: {error}")
