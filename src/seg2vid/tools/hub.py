"""Files of the Hugging Face hub: asked for once, with a short time-out, else as kept here."""

import re
from pathlib import Path
from typing import Any

from seg2vid.tools.errors import ModelError

NAME = re.compile(r"\w[\w.-]*/[\w.-]*\w")
"""What a model of the hub may be called: USER/NAME."""
SECONDS = 5
"""How long an answer may take: the hub's own client would try again for half a minute."""


def fetch_file(name: str, file: str) -> Path:
    """Return where a file of the model ``name`` lies, fetched anew where it was changed.

    Raises ``ModelError`` for no name of the hub, and where neither the hub nor the disk has it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    fix = "check the name and the connection, or give a local folder"
    if not NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
        raise ModelError("a model of the hub, as in user/name", got=repr(name), fix=fix)
    how: dict[str, Any] = {}
    try:
        get_hf_file_metadata(hf_hub_url(name, file), timeout=SECONDS)
    except HfHubHTTPError as error:
        got = f"no {file} of {name!r} ({type(error).__name__})"
        raise ModelError("a model on the hub or a folder", got=got, fix=fix) from None
    except Exception:  # each version of the hub's client has other errors for no connection
        how = {"local_files_only": True}
    try:
        return Path(hf_hub_download(name, file, **how))
    except Exception as error:
        got = f"no answer for {name!r} ({type(error).__name__})"
        raise ModelError("a model on the hub or a folder", got=got, fix=fix) from error
