"""The checker itself: silent on good histories, and each kind of breach is found."""

import random

from checker import check


class History:
    """Builds a history, one call an event; time passes by itself."""

    def __init__(self):
        self.events, self.time, self.ops = [], 0.0, 0

    def add(self, **event):
        self.time += 1
        self.events.append({"time": self.time, **event})

    def invoke(self, seq, process="unary", uid="u"):
        self.ops += 1
        self.add(type="invoke", op=self.ops, process=process, uid=uid, seq=seq, text=f"m{seq}")
        return self.ops

    def ack(self, op, turn, recent, replayed=False, digest=None):
        self.add(type="ack", op=op, turn=turn, recent=recent[-10:], replayed=replayed, digest=digest or f"{turn}:{recent[-1]}")

    def turn(self, seq, turn, recent, **more):
        self.ack(self.invoke(seq), turn, recent, **more)

    def unknown(self, op, code="UNAVAILABLE"):
        self.add(type="unknown", op=op, code=code)

    def read(self, turn, recent, uid="u"):
        self.time += 1
        self.add(type="read", began=self.time, uid=uid, turn=turn, recent=recent[-10:])

    def final(self, turn, recent, uid="u"):
        self.add(type="final", uid=uid, turn=turn, recent=recent[-10:])

    def kinds(self):
        return check(self.events).kinds()


def straight(turns):
    history = History()
    for n in range(1, turns + 1):
        history.turn(n, n, list(range(1, n + 1)))
    return history


def test_a_straight_conversation_is_fine():
    history = straight(40)
    history.read(40, list(range(1, 41)))
    history.final(40, list(range(1, 41)))
    report = check(history.events)
    assert (report.users, report.acknowledged, report.lost, report.doubled, report.anomalies) == (1, 40, 0, 0, [])


def test_replays_and_unknown_attempts_are_fine():
    history = History()
    history.unknown(history.invoke(1))
    history.turn(1, 1, [1], replayed=True)
    history.unknown(history.invoke(2))
    history.final(2, [1, 2])
    report = check(history.events)
    assert report.anomalies == [] and (report.acknowledged, report.replayed, report.unknown, report.unacknowledged) == (1, 1, 2, 1)


def test_messages_in_flight_may_come_in_any_order():
    history = History()
    ops = [history.invoke(seq) for seq in (1, 2, 3)]
    history.ack(ops[2], 1, [3])
    history.ack(ops[0], 2, [3, 1])
    history.ack(ops[1], 3, [3, 1, 2])
    history.final(3, [3, 1, 2])
    assert history.kinds() == set()


def test_a_session_that_is_gone_has_lost_its_turns():
    history = straight(3)
    report = check(history.events)
    assert report.lost == 3 and report.kinds() == {"lost"}


def test_a_session_that_began_anew_has_lost_its_turns():
    history = straight(3)
    history.turn(4, 1, [4])
    history.final(1, [4])
    report = check(history.events)
    assert report.lost == 3 and {"lost", "order"} <= report.kinds()


def test_a_turn_that_another_overwrote_is_lost():
    history = History()
    first, second = history.invoke(1), history.invoke(2)
    history.ack(first, 1, [1])
    history.ack(second, 1, [2])
    history.final(1, [2])
    report = check(history.events)
    assert report.lost == 1 and "lost" in report.kinds()


def test_an_overwritten_turn_deep_in_the_past_is_lost():
    history = History()
    order = [2]
    first, second = history.invoke(1), history.invoke(2)
    history.ack(first, 1, [1])
    history.ack(second, 1, [2])
    for seq in range(3, 40):
        order.append(seq)
        history.turn(seq, len(order), order)
    history.final(len(order), order)
    report = check(history.events)
    assert report.lost == 1


def test_a_message_that_was_taken_twice_is_doubled():
    history = History()
    history.unknown(history.invoke(1))
    history.turn(1, 2, [1, 1])
    history.final(2, [1, 1])
    report = check(history.events)
    assert report.doubled == 1 and "doubled" in report.kinds()


def test_a_message_that_was_taken_twice_under_another_seq_is_doubled():
    history = straight(2)
    history.final(3, [1, 2, 3])
    report = check(history.events)
    assert report.doubled == 1 and {"doubled", "phantom"} <= report.kinds()


def test_two_new_answers_to_one_message_are_told():
    history = History()
    history.turn(1, 1, [1])
    history.turn(1, 1, [1])
    history.final(1, [1])
    assert "doubled" in history.kinds()


def test_a_replay_that_differs_is_told():
    history = History()
    history.turn(1, 1, [1], digest="a")
    history.turn(1, 1, [1], replayed=True, digest="b")
    history.final(1, [1])
    assert history.kinds() == {"changed"}


def test_an_acknowledgement_that_nothing_stands_behind_is_lost():
    history = straight(3)
    history.turn(4, 4, [1, 2, 3, 4])
    history.final(3, [1, 2, 3])
    report = check(history.events)
    assert report.lost == 1 and {"lost", "stale"} <= report.kinds()


def test_a_turn_before_an_earlier_one_is_out_of_order():
    history = History()
    history.turn(1, 2, [2, 1])
    history.turn(2, 1, [2])
    history.final(2, [2, 1])
    assert "order" in history.kinds()


def test_a_read_into_the_past_is_stale():
    history = straight(3)
    history.read(2, [1, 2])
    history.final(3, [1, 2, 3])
    assert history.kinds() == {"stale"}


def test_answers_on_a_stream_come_in_order():
    for streams in (["stream-1", "stream-1"], ["stream-1", "stream-2"]):
        history = History()
        ops = [history.invoke(n + 1, process=stream) for n, stream in enumerate(streams)]
        history.ack(ops[1], 1, [2])
        history.ack(ops[0], 2, [2, 1])
        history.final(2, [2, 1])
        assert history.kinds() == ({"order"} if streams[0] == streams[1] else set())


def test_answers_without_questions_are_told():
    history = straight(1)
    history.events.append({"type": "unknown", "op": 99, "time": 50.0, "code": "UNAVAILABLE"})
    history.final(1, [1])
    assert history.kinds() == {"malformed"}


def test_random_histories_of_a_correct_store_are_fine_and_each_removed_turn_is_found():
    for number in range(60):
        chance = random.Random(number)
        history, order = History(), []
        waiting = []
        for seq in range(1, 60):
            waiting.append((seq, history.invoke(seq)))
            while waiting and chance.random() < 0.6:
                taken, op = waiting.pop(chance.randrange(len(waiting)))
                replayed = taken in order
                if not replayed:
                    order.append(taken)
                turn = order.index(taken) + 1
                if chance.random() < 0.2:
                    history.unknown(op)
                    waiting.append((taken, history.invoke(taken)))
                else:
                    history.ack(op, turn, order[:turn], replayed=replayed)
        history.final(len(order), order)
        assert check(history.events).anomalies == [], number
        # The store forgets one turn that was acknowledged, and tells so of the turns that follow.
        report = check(history.events)
        if report.acknowledged > 12:
            short = order[:-1]
            broken = [event for event in history.events if event["type"] != "final"]
            history.events = broken
            history.final(len(short), short)
            last = order[-1]
            acknowledged = any(e["type"] == "ack" and e["recent"][-1] == last for e in broken)
            assert check(history.events).lost == int(acknowledged), number
