"""What is an address, and what is refused before OpenSSH ever sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.devices.addresses import ROOT, Address, is_address, parse_address
from edgeprune.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", Address("local")),
        ("local:///srv/my models", Address("local", "/srv/my models")),
        ("emulator", Address("emulator")),
        ("ssh://pi", Address("ssh", ROOT, "pi")),
        ("ssh://pi/", Address("ssh", ROOT, "pi")),
        ("ssh://pi@raspberrypi", Address("ssh", ROOT, "raspberrypi", "pi")),
        ("ssh://user@host:2222/opt/models", Address("ssh", "/opt/models", "host", "user", 2222)),
        ("ssh://10.0.0.7:22", Address("ssh", ROOT, "10.0.0.7", "", 22)),
        ("ssh://u@[fe80::1%eth0]:2200/a b/$(c)", Address("ssh", "/a b/$(c)", "fe80::1%eth0", "u", 2200)),
    ],
)
def test_what_an_address_means(text: str, expected: Address) -> None:
    assert is_address(text)
    assert parse_address(text) == expected
    assert parse_address(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ssh://-oProxyCommand=touch${IFS}x",
        "ssh://-oProxyCommand=x/tmp",
        "ssh://user@-oProxyCommand=x",
        "ssh://-l@host",
        "ssh://",
        "ssh:///opt",
        "ssh://@host",
        "ssh://host:",
        "ssh://host:0",
        "ssh://host:65536",
        "ssh://host:22x",
        "ssh://host:٢٢",
        "ssh://ho st",
        "ssh://host\n",
        "ssh://host;reboot",
        "ssh://$(id)@host",
        "ssh://`id`",
        "ssh://us'er@host",
        "ssh://[::1",
        "ssh://fe80::1",
        "ssh://host/a/../b",
        "ssh://host/a\nb",
        "local://relative",
        "local://",
        "emulator://x",
        "http://host",
        "pi@raspberrypi",
        "",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert caught.value.hint


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse_address("ssh://user:secret@host")
    assert "password" in caught.value.message
    assert "secret" not in str(caught.value)


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_written_no_part_can_be_an_option(user: str, host: str) -> None:
    try:
        address = parse_address(f"ssh://{user}@{host}")
    except UsageError:
        return
    for part in (address.user, address.host):
        assert not part.startswith("-")
        assert part.isascii()
        assert not set(part) & set(" \t\n'\"`$;&|<>()\\*?!")
