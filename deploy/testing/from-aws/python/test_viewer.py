import boto3
import pytest

SECOND = "answer to offer 2 of phone"


def answers(heliograph, count):
    """The answers that the camera has sent."""
    return heliograph.messages("porch", action="SDP_ANSWER").wait(count)


def test_an_offer_gets_its_answer(heliograph, camera, view, until):
    viewer = view()
    until(lambda: viewer.answers == ["answer to offer 1 of phone"])
    heliograph.parity.assert_none()


def test_a_line_that_is_cut_is_opened_again(heliograph, camera, view, until):
    viewer = view()
    answers(heliograph, 1)
    heliograph.faults.reset(on="session", role="viewer")
    until(lambda: SECOND in viewer.answers)


def test_a_line_that_is_cut_with_its_offer_is_opened_again(heliograph, camera, view, until):
    cut = heliograph.faults.reset(on="message", action="SDP_OFFER")
    viewer = view()
    until(lambda: SECOND in viewer.answers)
    assert cut.hits == 1


def test_an_answer_that_is_lost_is_asked_for_again(heliograph, camera, view, until):
    lost = heliograph.faults.drop(on="delivery", action="SDP_ANSWER")
    viewer = view()
    until(lambda: viewer.answers == [SECOND])
    assert lost.hits == 1


def test_an_answer_that_cannot_be_read_is_asked_for_again(heliograph, camera, view, until):
    heliograph.faults.corrupt("payload", action="SDP_ANSWER")
    heliograph.faults.corrupt("message", action="SDP_ANSWER")
    viewer = view()
    until(lambda: viewer.answers == ["answer to offer 3 of phone"])


def test_what_the_service_refuses_for_a_moment_is_tried_again(heliograph, camera, view, until):
    faults = [
        heliograph.faults.throttle(operation="DescribeSignalingChannel"),
        heliograph.faults.refuse("InternalFailure", operation="GetIceServerConfig"),
        heliograph.faults.throttle(on="connect", role="viewer"),
        heliograph.faults.refuse(status=503, on="connect", role="viewer"),
    ]
    viewer = view()
    until(lambda: viewer.answers)
    assert [fault.hits for fault in faults] == [1, 1, 1, 1]


def test_the_hour_after_which_the_service_closes(heliograph, camera, view, until):
    viewer = view()
    answers(heliograph, 1)
    heliograph.clock.advance("61m")
    heliograph.connections("porch", role="viewer").wait(1)
    until(lambda: viewer.offers >= 2)


def test_ice_servers_are_fetched_when_the_service_says_so(heliograph, camera, view, until):
    viewer = view()
    answers(heliograph, 1)
    heliograph.faults.reconnect_ice(role="viewer")
    until(lambda: SECOND in viewer.answers)
    assert viewer.ice_fetches == 2


def test_ice_servers_are_fetched_before_they_expire(heliograph, camera, view, until):
    viewer = view(ice_margin=299.8)
    until(lambda: viewer.ice_fetches >= 3)
    until(lambda: len(viewer.answers) >= 3)
    assert len(heliograph.connections("porch", role="viewer").now()) == 1


@pytest.mark.heliograph(auth="sigv4")
def test_a_key_that_is_wrong_ends_the_viewer_with_the_reason(heliograph, channel, view, until):
    key = heliograph.environment["AWS_ACCESS_KEY_ID"]
    boto3.setup_default_session(aws_access_key_id=key, aws_secret_access_key="of-somebody-else")
    viewer = view()
    until(lambda: viewer.refused == "InvalidSignatureException")
    assert viewer.offers == 0
