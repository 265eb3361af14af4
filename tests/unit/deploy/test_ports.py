import socket

import pytest

from deploy.services.ports import LOOPBACK, choose_port, free_port, is_free
from heo_core.errors import ServiceError


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_that_somebody_listens_on_is_not_free(taken):
    assert not is_free(taken)
    assert is_free(free_port())


def test_the_remembered_port_comes_before_the_default():
    remembered, default = free_port(), free_port()
    assert choose_port("P", remembered=remembered, default=default, environment={}) == remembered
    assert choose_port("P", remembered=None, default=default, environment={}) == default


def test_a_taken_port_is_replaced_by_a_free_one(taken):
    chosen = choose_port("P", remembered=taken, default=taken, environment={})
    assert chosen != taken
    assert is_free(chosen)


def test_the_variable_comes_before_everything():
    asked, other = free_port(), free_port()
    assert choose_port("P", remembered=other, default=other, environment={"P": str(asked)}) == asked


def test_an_empty_variable_asks_for_nothing():
    default = free_port()
    assert choose_port("P", remembered=None, default=default, environment={"P": ""}) == default


def test_a_taken_port_that_was_asked_for_is_an_error_naming_port_and_variable(taken):
    with pytest.raises(ServiceError, match=rf"port {taken} \(HEO_X_PORT\) is in use"):
        choose_port("HEO_X_PORT", remembered=None, default=taken, environment={"HEO_X_PORT": str(taken)})


@pytest.mark.parametrize("value", ["abc", "0", "65536", "-1", "80.5"])
def test_a_variable_that_is_no_port_is_an_error_naming_what_is_allowed(value):
    with pytest.raises(ServiceError, match="1 to 65535"):
        choose_port("P", remembered=None, default=1, environment={"P": value})
