"""Sign and verify registered models offline, by OpenSSF's model-signing and the user's own key.

A signature is a Sigstore bundle with the SHA-256 of every file, including `MLmodel`; the command
`model_signing` can read it. Unlike the digests in a registry, nobody can make a signature without
the private key.
"""

import os
import tempfile
from pathlib import Path

from soup.errors import BadInput
from soup.models.allowed_files import Refused, stated_digests

PASSWORD = "MODELSOUP_SIGNING_PASSWORD"
ADDED = "registered_model_meta"  # a file that MLflow adds when it downloads a model


def sign(folder: Path, private_key: Path, whose: str) -> str:
    """Sign a model; return the signature.

    Args:
        folder: the model's folder, with the file MLmodel.
        private_key: a PEM file with an elliptic curve key; if it is encrypted, the environment
            variable MODELSOUP_SIGNING_PASSWORD holds the password.
        whose: name of the model, for the error message.

    Raises:
        BadInput: the key cannot be used, or the model was registered by an earlier release.
    """
    from model_signing import hashing, signing

    if stated_digests(folder, whose) is None:
        raise BadInput(
            f"{whose} was registered by an earlier release and holds code: register it again, then "
            "sign that"
        )
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "signature.json"
        try:
            config = signing.Config().use_elliptic_key_signer(
                private_key=private_key, password=os.environ.get(PASSWORD)
            )
        except (OSError, ValueError, TypeError) as error:
            raise BadInput(
                f"{private_key} cannot sign: {error}; make a key with 'openssl ecparam -name "
                "prime256v1 -genkey -noout -out KEY'"
            ) from None
        hashed = hashing.Config().set_ignored_paths(paths=[ADDED], ignore_git_paths=False)
        config.set_hashing_config(hashed).sign(folder, file)
        return file.read_text(encoding="utf-8")


def verify(folder: Path, signature: str, public_key: Path, whose: str) -> None:
    """Check that the owner of a key signed a model, and that it has not changed since.

    Args:
        folder: the model's folder.
        signature: the result of `sign`; '' if there is none.
        public_key: a PEM file.
        whose: name of the model, for the error message.

    Raises:
        BadInput: the key cannot be used.
        Refused: the model is not signed, is signed with another key, or has changed.
    """
    from model_signing import hashing, verifying

    if not signature:
        raise Refused(
            f"{whose} is refused: it is not signed; sign it with 'soup champion promote --sign KEY'"
        )
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{public_key} is no public key in PEM: {error}") from None
    hashed = hashing.Config().set_ignored_paths(paths=[ADDED], ignore_git_paths=False)
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "signature.json"
        file.write_text(signature, encoding="utf-8")
        try:
            config.set_hashing_config(hashed).verify(folder, file)
        except Exception as error:  # the library raises many kinds, also for a damaged bundle
            reason = str(error) or type(error).__name__
            raise Refused(
                f"{whose} is refused: its signature is not that of {public_key} for these files: "
                f"{reason[:500]}"
            ) from None
