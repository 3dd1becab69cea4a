"""Models of the Hugging Face hub: files fetched and kept, folders uploaded."""

import re
from pathlib import Path
from typing import Any

from seg2vid.tools.errors import ModelError

NAME = re.compile(r"\w[\w.-]*/[\w.-]*\w")
"""What a model of the hub may be called: USER/NAME."""
SECONDS = 5
"""How long an answer may take: the hub's own client would try again for half a minute."""


_FIX = "check the name and the connection, or give a local folder"


def check_name(name: str) -> None:
    """Raise ``ModelError`` unless a model of the hub may be called so."""
    if not NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
        raise ModelError("a model of the hub, as in user/name", got=repr(name), fix=_FIX)


def fetch_file(name: str, file: str) -> Path:
    """Return where a file of the model ``name`` lies, fetched anew where it was changed.

    Raises ``ModelError`` for no name of the hub, and where neither the hub nor the disk has it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    check_name(name)
    how: dict[str, Any] = {}
    try:
        get_hf_file_metadata(hf_hub_url(name, file), timeout=SECONDS)
    except HfHubHTTPError as error:
        got = f"no {file} of {name!r} ({type(error).__name__})"
        raise ModelError("a model on the hub or a folder", got=got, fix=_FIX) from None
    except Exception:  # each version of the hub's client has other errors for no connection
        how = {"local_files_only": True}
    try:
        return Path(hf_hub_download(name, file, **how))
    except Exception as error:
        got = f"no answer for {name!r} ({type(error).__name__})"
        raise ModelError("a model on the hub or a folder", got=got, fix=_FIX) from error


def upload_folder(
    folder: Path, name: str, *, private: bool | None, token: str | None, message: str
) -> str:
    """Make ``folder`` the newest state of the model ``name``, made where it is not there.

    Returns the address of its page. Without a ``token`` the one that is kept here is used. Raises
    ``ModelError`` for no name of the hub, no token, one that may not write, and no answer.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    check_name(name)
    what = f"a token of the hub that may write to {name!r}"
    if not (token or get_token()):
        fix = "give token=..., set HF_TOKEN, or run: hf auth login"
        raise ModelError(what, got="none", fix=fix)
    hub = HfApi(token=token)
    try:
        page = hub.create_repo(name, private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            fix = "make one that may at the hub's page of settings"
            raise ModelError(what, got=f"one that is refused ({status})", fix=fix) from None
        got, fix = f"status {status} for {name!r}", "try again later"
        raise ModelError("a hub that takes the model", got=got, fix=fix) from error
    except Exception as error:  # each version of the hub's client has other ones for no connection
        got = f"{type(error.__cause__ or error).__name__} for {name!r}"
        fix = "check the connection, or write a folder with save_pretrained"
        raise ModelError("a hub that takes the model", got=got, fix=fix) from error
    return str(page)
