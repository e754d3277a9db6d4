"""Whether W&B can take a run now: credentials for its server, and a server that answers."""

import os
from threading import Thread
from urllib.parse import urlsplit

from galaxy10.compat import wandb_netrc_key
from galaxy10.errors import first_line

ANSWER_S = 5.0


def offline_reason() -> str | None:
    """Why nothing can be uploaded now, in a few words; None if it can. Takes at most five seconds and wandb's start."""
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
    """Whether the server gives any HTTP answer but an error of its own within limit_s, name look-up included."""
    import requests

    found: list[bool] = []

    def ask() -> None:
        try:
            with requests.get(address, timeout=limit_s, stream=True, allow_redirects=False, verify=verify) as answer:
                found.append(answer.status_code < 500)
        except requests.RequestException:
            pass

    # In a thread: a look-up that hangs and a server that sends a byte now and then know no time limit.
    attempt = Thread(target=ask, daemon=True)
    attempt.start()
    attempt.join(limit_s)
    return any(found)


if __name__ == "__main__":
    print(offline_reason() or "", flush=True)
    os._exit(0)  # a hanging look-up is not waited for
