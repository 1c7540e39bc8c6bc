"""plumb problems: every written step checked with Python's integers, questions against answers, the two splits
against each other. Nothing here shares code with the generators."""
import functools
import json
import re

import pytest

from helpers import need_command, plumb

SIZES = {"add": range(1, 10), "sub": range(1, 10), "mul": range(1, 10), "mul2": range(1, 5), "compare": range(1, 10),
         "sort": range(2, 9), "extreme": range(3, 9), "parity": range(2, 10), "word": range(1, 5), "word2": range(1, 4),
         "chat": [1]}


@pytest.fixture(autouse=True)
def _needs():
    need_command("problems")


@functools.lru_cache(None)
def problems(kind, size, n, split="train", seed=1):
    args = ["problems", "--n", n, "--split", split, "--seed", seed]
    if kind != "mixed":
        args += ["--kind", kind, "--size", size]
    p = plumb(*args)
    assert p.returncode == 0, p.stderr
    lines = [json.loads(line) for line in p.stdout.splitlines()]
    assert len(lines) == n
    return [(d["kind"], d["messages"][0]["content"], d["messages"][1]["thinking"], d["messages"][1]["content"])
            for d in lines]


# ---- the written work -----------------------------------------------------------------------------

class Lines:
    def __init__(self, text):
        self.lines, self.at = text.split("\n"), 0

    def next(self, pattern):
        assert self.at < len(self.lines), "the work ends too early"
        line = self.lines[self.at]
        m = re.fullmatch(pattern, line)
        assert m, f"line {self.at + 1} is {line!r}, expected {pattern}"
        self.at += 1
        return m.groups()

    def peek(self):
        return self.lines[self.at] if self.at < len(self.lines) else None


def add_block(lines):
    a, b = lines.next(r"(\d+)\+(\d+)")
    assert len(a) == len(b)
    assert a[0] != "0" or b[0] != "0" or len(a) == 1, "one of them fills the width"
    carry, digits = 0, ""
    for x, y in zip(reversed(a), reversed(b)):
        p, q, c, out, digit = lines.next(r"(\d)\+(\d)\+(\d)=(\d)(\d)")
        assert (p, q, int(c)) == (x, y, carry)
        assert int(p) + int(q) + int(c) == 10 * int(out) + int(digit)
        carry, digits = int(out), digit + digits
    (result,) = lines.next(r"=(\d+)")
    assert result == f"{carry}{digits}" and int(result) == int(a) + int(b)
    return ("+", int(a), int(b)), int(result)


def borrow_lines(lines, a, b):
    borrow, digits = 0, ""
    for x, y in zip(reversed(a), reversed(b)):
        p, q, c, digit, owes = lines.next(r"(\d)-(\d)-(\d)=(\d)b([01])")
        assert (p, q, int(c)) == (x, y, borrow)
        assert int(p) - int(q) - int(c) == int(digit) - 10 * int(owes)
        borrow, digits = int(owes), digit + digits
    return borrow, digits


def sub_block(lines):
    a, b = lines.next(r"(\d+)-(\d+)")
    assert len(a) == len(b)
    borrow, digits = borrow_lines(lines, a, b)
    if not borrow:
        (result,) = lines.next(r"=(\d+)")
        assert result == digits and int(result) == int(a) - int(b)
        return ("-", int(a), int(b)), int(result)
    assert lines.next(r"-\((\d+)-(\d+)\)") == (b, a)
    borrow, digits = borrow_lines(lines, b, a)
    assert borrow == 0
    (result,) = lines.next(r"=(-\d+)")
    assert result == "-" + digits and int(result) == int(a) - int(b)
    return ("-", int(a), int(b)), int(result)


def mul_block(lines):
    a, b = lines.next(r"(\d+)\*(\d+)")
    if len(b) == 2:
        assert int(b) >= 10
        (_, p), (_, q) = mul_block(lines), mul_block(lines)
        assert (p, q) == (int(a) * int(b[1]), int(a) * int(b[0]))
        inner, result = add_block(lines)
        assert inner == ("+", p, 10 * q) and result == int(a) * int(b)
        return ("*", int(a), int(b)), result
    carry, digits = 0, ""
    for x in reversed(a):
        p, q, c, out, digit = lines.next(r"(\d)\*(\d)\+(\d)=(\d)(\d)")
        assert (p, q, int(c)) == (x, b, carry)
        assert int(p) * int(q) + int(c) == 10 * int(out) + int(digit)
        carry, digits = int(out), digit + digits
    (result,) = lines.next(r"=(\d+)")
    assert result == f"{carry}{digits}" and int(result) == int(a) * int(b)
    return ("*", int(a), int(b)), int(result)


def block(lines):
    head = lines.peek()
    return (add_block if "+" in head else mul_block if "*" in head else sub_block)(lines)


def compare_block(lines):
    a, b = lines.next(r"(\d+)\?(\d+)")
    assert len(a) == len(b)
    for x, y in zip(a, b):
        p, sign, q = lines.next(r"(\d)([<=>])(\d)")
        assert (p, q) == (x, y) and sign == ("<" if p < q else ">" if p > q else "=")
        if sign != "=":
            break
    return int(a), int(b)


def listed(text):
    parts = text.split(" ")
    assert len({len(p) for p in parts}) == 1
    return [int(p) for p in parts]


def check_sort(lines, numbers, answer, extreme):
    (head,) = lines.next(r"([\d ]+)")
    assert listed(head) == numbers
    if numbers:
        assert max(len(str(n)) for n in numbers) == len(head.split(" ")[0])
    rest, picked, signs = list(numbers), [], set()
    while rest and not (extreme and picked):
        sign, line = lines.next(r"([<>])([\d ]+)")
        pick, *others = listed(line)
        assert pick == (min if sign == "<" else max)(rest)
        rest.remove(pick)
        assert extreme or others == rest or sorted(others) == sorted(rest)
        picked.append(pick)
        signs.add(sign)
    assert len(signs) == 1
    assert [int(x) for x in answer.split(", ")] == picked
    return signs.pop()


# ---- questions ------------------------------------------------------------------------------------

def numbers_in(text):
    return [int(x) for x in re.findall(r"\d+", text)]


def check_calculation(question, op, a, b):
    have = numbers_in(question)
    low = question.lower()
    if op == "-":
        turned = re.search(r"(subtract|take|taking) \d+|less than", low) and re.search(r"from|less than", low)
        assert have == ([b, a] if turned else [a, b]), question
    else:
        assert sorted(have) == sorted([a, b]), question
    words = {"+": r"\+|plus|add|sum|and|total|increased|more than", "-": r"-|minus|subtract|take|differ|less|reduced|decreased|more is",
             "*": r"\*|x|×|times|multipl|product"}
    assert re.search(words[op], low), question


SIGN_OF = {"add": "+", "sub": "-", "mul": "*", "mul2": "*"}


def calculations(kind, question, thinking, answer):
    """Checks the problem; what it calculates, as (operation, a, b)."""
    lines = Lines(thinking)
    made = []
    if kind in SIGN_OF:
        (op, a, b), result = block(lines)
        assert op == SIGN_OF[kind] and str(result) == answer
        check_calculation(question, op, a, b)
        made.append((op, a, b))
    elif kind == "word":
        (op, a, b), result = block(lines)
        assert str(result) == answer and result >= 0
        assert sorted(numbers_in(question)) == sorted([a, b]), question
        made.append((op, a, b))
    elif kind == "word2":
        first, middle = block(lines)
        second, result = block(lines)
        assert second[1] == middle and str(result) == answer and result >= 0
        assert sorted(numbers_in(question)) == sorted([first[1], first[2], second[2]]), question
        made += [first, second]
    elif kind == "compare":
        a, b = compare_block(lines)
        low = question.lower()
        assert numbers_in(question) == [a, b]
        if "<, > or =" in low or "with a sign" in low:
            assert answer == ("<" if a < b else ">" if a > b else "=")
        else:
            more = re.search(r"larger|bigger|greater|more|above|>", low)
            assert bool(more) != bool(re.search(r"smaller|less|lower|below|<", low)), question
            if answer in ("Yes", "No"):
                assert (answer == "Yes") == (a > b if more else a < b), question
                assert not re.search(r"which| or |of \d", low), question
            else:
                assert answer == ("equal" if a == b else str(max(a, b) if more else min(a, b))), question
                assert re.search(r"which|what|or", low), question
        made.append(("?", *sorted([a, b])))
    elif kind in ("sort", "extreme"):
        numbers = numbers_in(question)
        sign = check_sort(lines, numbers, answer, kind == "extreme")
        low = question.lower()
        down = r"largest|biggest|greatest|highest|max" if kind == "extreme" else \
            r"from largest|descending|from greatest|from high|from big|downwards|reverse|largest first"
        assert (sign == ">") == bool(re.search(down, low)), question
        made.append(("list", *sorted(numbers)))
    elif kind == "parity":
        number, = lines.next(r"(\d+)")
        digit, = lines.next(r"(\d)")
        assert numbers_in(question) == [int(number)] and digit == number[-1]
        assert answer == ("odd" if int(number) % 2 else "even")
        made.append(("parity", int(number)))
    else:
        assert kind == "chat"
        lines.next("no arithmetic")
        assert "arithmetic" in answer and "Plumb" in answer and question.strip()
    assert lines.peek() is None, "nothing follows the result"
    return made


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", SIZES)
def test_every_step_and_answer_is_right(kind, split):
    for size in SIZES[kind]:
        for made, question, thinking, answer in problems(kind, size, 300, split):
            assert made == kind
            try:
                calculations(kind, question, thinking, answer)
            except AssertionError as e:
                raise AssertionError(f"{kind} {size}: {question!r}\n{thinking}\n-> {answer}: {e}") from None


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "compare", "parity"])
def test_the_size_is_the_number_of_digits(kind):
    for size in SIZES[kind]:
        for _, question, _, _ in problems(kind, size, 300):
            assert max(len(x) for x in re.findall(r"\d+", question)) == size, question


def unordered(c):
    """A sum or product is the same either way round."""
    return (c[0], *sorted(c[1:])) if c[0] in "+*" else c


def parts(kind, question, thinking, answer):
    """Everything a text calculates: also partial products, their sum, and the exchanged difference."""
    out = {unordered(c) for c in calculations(kind, question, thinking, answer)}
    for a, op, b in re.findall(r"^-?\(?(\d+)([-+*])(\d+)\)?$", thinking, re.M):
        out.add(unordered((op, int(a), int(b))))
    return out


def test_no_training_text_calculates_what_is_tested():
    tested = set()
    for kind in SIZES:
        for size in list(SIZES[kind])[:4]:
            for p in problems(kind, size, 400, "test"):
                tested |= {unordered(c) for c in calculations(*p)[:1]}
    assert len(tested) > 3000
    seen = set()
    for p in problems("mixed", 0, 40000, "train", 7):
        seen |= parts(*p)
    assert len(seen) > 20000
    assert not tested & seen, sorted(tested & seen, key=str)[:5]


def test_one_in_sixteen_sums_is_tested():
    seen = {unordered(c) for p in problems("add", 2, 20000, "train", 3) for c in calculations(*p)}
    tested = {unordered(c) for p in problems("add", 2, 20000, "test", 3) for c in calculations(*p)}
    assert not seen & tested
    share = len(tested) / (len(seen) + len(tested))
    assert 0.045 < share < 0.08, share


def test_ordinary_questions_of_the_test_are_a_hundred_of_their_own():
    tested = [p[1] for p in problems("chat", 1, 100, "test")]
    assert len(set(tested)) == 100
    assert [p[1] for p in problems("chat", 1, 200, "test", 9)] == tested * 2

    def plain(q):
        return re.sub(r"[^a-z ]", "", q.lower())
    made = {plain(p[1]) for p in problems("chat", 1, 60000, "train", 5)}
    assert len(made) > 15000, len(made)
    assert not made & {plain(q) for q in tested}


def test_questions_are_worded_in_many_ways():
    for kind, least in (("add", 40), ("sub", 40), ("mul", 40), ("compare", 40), ("sort", 25), ("extreme", 25), ("word", 600)):
        size = 3 if kind in ("sort", "extreme") else 2
        made = {re.sub(r"\d+", "#", p[1]) for p in problems(kind, size, 2000)}
        assert len(made) >= least, (kind, len(made))


def test_the_same_options_give_the_same_problems():
    for kind in SIZES:
        size = list(SIZES[kind])[0]
        few, many = problems(kind, size, 10, seed=11), problems(kind, size, 30, seed=11)
        assert many[:10] == few
        assert kind == "chat" or problems(kind, size, 30, seed=12) != many


def test_the_mixed_stream_has_every_kind():
    kinds = [p[0] for p in problems("mixed", 0, 3000)]
    assert set(kinds) == set(SIZES)
    assert 0.1 < kinds.count("add") / 3000 < 0.25


def test_wrong_orders_are_refused():
    assert plumb("problems", "--kind", "cubes").returncode == 2
    assert plumb("problems", "--size", "3").returncode == 2
    p = plumb("problems", "--kind", "sort", "--size", "9")
    assert p.returncode == 1 and "2 to 8" in p.stderr
