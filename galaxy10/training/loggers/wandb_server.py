"""Check whether W&B can be used online: credentials, and a reachable server."""

import os
from threading import Thread
from urllib.parse import urlsplit

from galaxy10.compat import wandb_netrc_key
from galaxy10.errors import first_line

ANSWER_S = 5.0


def offline_reason() -> str | None:
    """Return why W&B must be offline, in a few words; None if it can be online. Takes ANSWER_S and wandb's import."""
    import wandb

    try:
        settings = wandb.setup().settings
        address = settings.base_url
        known = settings.api_key or settings.identity_token_file or wandb_netrc_key(address)
    except Exception as error:  # a malformed key or address
        return first_line(error)
    host = urlsplit(address).netloc
    if not known:
        return f"no credentials for {host} (`wandb login` stores them)"
    if not server_answers(address, verify=not settings.insecure_disable_ssl):
        return f"{host} does not answer within {ANSWER_S:g} s"
    return None


def server_answers(address: str, limit_s: float = ANSWER_S, verify: bool = True) -> bool:
    """Return whether a server answers within limit_s, including the DNS lookup, with a status below 500."""
    import requests

    found: list[bool] = []

    def request() -> None:
        try:
            with requests.get(address, timeout=limit_s, stream=True, allow_redirects=False, verify=verify) as response:
                found.append(response.status_code < 500)
        except requests.RequestException:
            pass

    # In a thread, because requests' timeout does not limit a DNS lookup or a very slow response.
    attempt = Thread(target=request, daemon=True)
    attempt.start()
    attempt.join(limit_s)
    return any(found)


if __name__ == "__main__":
    print(offline_reason() or "", flush=True)
    os._exit(0)  # do not wait for a hanging DNS lookup
