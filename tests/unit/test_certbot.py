"""What certbot prints, and what is made of it for a person."""

from __future__ import annotations

import pytest

from fabfile.certificate import certbot

POOL = (
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='acme.test', port=14009): Max retries exceeded with "
    "url: /dir (Caused by NameResolutionError(\"HTTPSConnection(host='acme.test', port=14009): Failed to resolve "
    "'acme.test' ([Errno %s] %s)\"))\n"
)
HOOKED = """\
Requesting a certificate for registry.test
Hook '--manual-auth-hook' for registry.test reported error code 3
Hook '--manual-auth-hook' for registry.test ran with output:
 asking the provider
Hook '--manual-auth-hook' for registry.test ran with error output:
 Traceback (most recent call last):
   File "/hooks/dns-auth", line 5
 urllib.error.HTTPError: HTTP Error 403: Forbidden

Certbot failed to authenticate some domains (authenticator: manual). The Certificate Authority reported these problems:
  Domain: registry.test
  Type:   unauthorized
  Detail: No TXT records found at _acme-challenge.registry.test

Some challenges have failed.
"""


@pytest.mark.parametrize(
    ("number", "said", "told"),
    [
        (-3, "Temporary failure in name resolution", "no DNS server answers"),
        (-2, "Name or service not known", "its name has no address"),
        (-5, "No address associated with hostname", "its name has no address"),
    ],
)
def test_a_name_that_is_not_found_is_not_a_dns_that_is_silent(number: int, said: str, told: str) -> None:
    assert certbot.reason(POOL % (number, said)) == f"the ACME server acme.test:14009 cannot be reached: {told}"


def test_a_hook_that_fails_is_told_with_its_own_words() -> None:
    assert certbot.reason(HOOKED) == (
        "No TXT records found at _acme-challenge.registry.test; the hook dns-auth for registry.test ended with "
        "status 3: urllib.error.HTTPError: HTTP Error 403: Forbidden"
    )


def test_a_hook_that_speaks_on_standard_output_or_not_at_all_is_told_too() -> None:
    output = HOOKED.replace("ran with error output", "ran with something else")
    assert certbot.reason(output).endswith("ended with status 3: asking the provider")
    silent = "Hook '--manual-auth-hook' for a.test reported error code 127\n  Detail: No TXT records found\n"
    expected = "No TXT records found; the hook dns-auth for a.test ended with status 127 and said nothing"
    assert certbot.reason(silent) == expected
