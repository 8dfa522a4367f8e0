"""How pmbench speaks HTTP: with the proxies and certificates that the environment names."""

from __future__ import annotations

import ssl

import httpx

from pmbench import __version__
from pmbench.utils.errors import PmbenchError


def open_client(silence: float) -> httpx.Client:
    """Return a client that gives up after so many seconds without a byte.

    Raises PmbenchError where the environment's settings make no sense.
    """
    headers = {"User-Agent": f"pmbench/{__version__}", "Accept-Encoding": "identity"}
    try:
        return httpx.Client(timeout=silence, headers=headers, follow_redirects=True)
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise PmbenchError(
            f"the environment's settings for proxies or certificates cannot be used ({error}); "
            "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error


def check_reachable(url: str, silence: float) -> None:
    """Ask ``url`` once, whatever it answers. Raises PmbenchError where nobody does."""
    with open_client(silence) as client:
        try:
            client.head(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = untrusted_certificate(error) or str(error) or type(error).__name__
            raise PmbenchError(f"{url}: {why}") from error


def untrusted_certificate(error: BaseException) -> str | None:
    """Return what is wrong with the server's certificate, or None where it is something else."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({cause.verify_message}); check the URL, and "
                "where it is your network's own certificate, name the file that holds it: "
                "SSL_CERT_FILE=FILE.pem"
            )
        cause = cause.__cause__ or cause.__context__
    return None
