from collections.abc import Sequence

import pytest

from core.errors import ConfigError, EgressDeniedError, ToolFailedError
from core.tool_settings import EgressSettings
from tools.egress.policy import EgressPolicy, Resolver

PUBLIC = "93.184.215.14"


def names(**hosts: Sequence[str]) -> Resolver:
    """Resolves ``a_test`` as the host ``a.test``; literals are what they are."""
    table = {name.replace("_", "."): addresses for name, addresses in hosts.items()}

    def resolve(host: str, port: int) -> Sequence[str]:
        return table.get(host.lower().rstrip("."), [host])

    return resolve


def policy(resolver: Resolver | None = None, **settings: object) -> EgressPolicy:
    chosen = EgressSettings.model_validate(settings)
    return EgressPolicy(chosen, resolver=resolver) if resolver else EgressPolicy(chosen)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0/",
        "http://user@8.8.8.8/",
        "http://example.com:pw@8.8.8.8/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "data:text/plain,x",
        "view-source:http://8.8.8.8/",
        "http:///nohost",
        "//8.8.8.8/",
        "http://8.8.8.8:22/",
    ],
)
async def test_urls_that_lead_inside_are_refused(url: str) -> None:
    with pytest.raises(EgressDeniedError):
        await policy().check_url(url)


@pytest.mark.parametrize(
    "url", ["http://0177.0.0.1/", "http://①②⑦.0.0.1/", "http://[fe80::1%25lo]/", "http://[::1/"]
)
async def test_urls_that_are_none_are_refused_as_such(url: str) -> None:
    with pytest.raises((EgressDeniedError, ToolFailedError)):
        await policy().check_url(url)


async def test_full_width_digits_are_seen_through_where_a_resolver_does_so() -> None:
    with pytest.raises(EgressDeniedError, match=r"127\.0\.0\.1"):
        await policy().resolve("①②⑦.0.0.1", 80)


async def test_public_addresses_are_given_as_they_were_checked() -> None:
    guard = policy(names(a_test=[PUBLIC, "2606:4700::1111"]))
    await guard.check_url("https://a.test/x")
    assert await guard.resolve("A.TEST.", 443) == (PUBLIC, "2606:4700::1111")


async def test_one_private_address_among_public_ones_is_too_many() -> None:
    guard = policy(names(a_test=[PUBLIC, "10.0.0.5"]))
    with pytest.raises(EgressDeniedError) as caught:
        await guard.resolve("a.test", 443)
    assert "a.test (10.0.0.5)" in str(caught.value)
    assert "[egress] allow_hosts = ['10.0.0.5:443']" in str(caught.value)


async def test_hosts_are_allowed_by_name_wildcard_and_address() -> None:
    table = names(a_test=["10.0.0.5"], b_c_test=["10.0.0.6"], c_test=["10.0.0.7"])
    guard = policy(table, allow_hosts=["a.test:8080", "*.c.test", "10.0.0.9"])
    assert await guard.resolve("a.test", 8080) == ("10.0.0.5",)
    assert await guard.resolve("b.c.test", 443) == ("10.0.0.6",)
    assert await guard.resolve("10.0.0.9", 80) == ("10.0.0.9",)
    for host, port in (("a.test", 80), ("c.test", 443), ("xc.test", 443), ("b.c.test", 8080)):
        with pytest.raises((EgressDeniedError, ToolFailedError)):
            await guard.resolve(host, port)


async def test_an_allowed_name_does_not_lead_to_the_metadata_service() -> None:
    table = names(a_test=["169.254.169.254"])
    with pytest.raises(EgressDeniedError):
        await policy(table, allow_hosts=["a.test"]).resolve("a.test", 80)
    listed = policy(table, allow_hosts=["169.254.169.254:80"])
    assert await listed.resolve("a.test", 80) == ("169.254.169.254",)


async def test_denied_hosts_are_refused_by_name_and_address_even_if_allowed() -> None:
    table = names(a_test=[PUBLIC], b_test=[PUBLIC], x_a_test=["8.8.8.8"])
    guard = policy(table, deny_hosts=["a.test", "*.a.test", PUBLIC], allow_hosts=["a.test"])
    for host in ("a.test", "a.test.", "x.a.test", "b.test"):
        with pytest.raises(EgressDeniedError, match="deny_hosts"):
            await guard.resolve(host, 443)


async def test_plain_http_is_refused_where_https_is_demanded() -> None:
    guard = policy(names(a_test=[PUBLIC]), https_only=True, allow_hosts=["127.0.0.1:8080"])
    await guard.check_url("https://a.test/")
    await guard.check_url("http://127.0.0.1:8080/")
    with pytest.raises(EgressDeniedError, match="https_only"):
        await guard.check_url("http://a.test/")
    with pytest.raises(EgressDeniedError, match="https_only"):
        guard.check_tunnel("a.test", 80)


async def test_a_host_without_an_address_may_have_one_later() -> None:
    with pytest.raises(ToolFailedError) as caught:
        await policy(names(a_test=[])).resolve("a.test", 80)
    assert caught.value.details["retryable"]
    with pytest.raises(ToolFailedError, match="cannot be resolved"):
        await policy().resolve("no-such-host.invalid", 80)


@pytest.mark.parametrize("entry", ["", "a b", "host:0", "host:99999", "host:x", "*", "a/b"])
def test_an_entry_that_is_no_host_is_an_error_of_the_configuration(entry: str) -> None:
    with pytest.raises(ConfigError, match="egress"):
        policy(allow_hosts=[entry])


@pytest.mark.parametrize("url", ["socks5://h:1", "https://h:1", "h:1", "http://h:x", "http://"])
def test_an_upstream_proxy_that_cannot_be_used_is_an_error_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match="upstream_proxy"):
        policy(upstream_proxy=url)
