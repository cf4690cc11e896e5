"""Cached functions: what is told apart, what belongs to a method, what is refused."""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache import AsyncCache, Cache
from scoutcache.calls.callables import Described
from scoutcache.errors import CacheError, InvalidKey


@pytest.fixture
def cached(open_cache: Any) -> Any:
    """The decorator of a cache of memory; its functions block on both faces."""
    cache = open_cache(["memory"])

    def decorate(**options: Any) -> Any:
        return cache.cache.cached(**options)

    decorate.cache = cache  # type: ignore[attr-defined]
    decorate.run = cache._ended  # type: ignore[attr-defined]
    return decorate


# -- methods


def test_a_method_is_bound_as_methods_are(cached):
    class Service:
        @cached()
        def answer(self, n, *, twice=False):
            return n * (2 if twice else 1)

    service, run = Service(), cached.run
    assert run(service.answer(3)) == run(Service().answer(n=3)) == 3
    assert service.answer.key(3) == Service.answer.key(service, 3) == Service.answer.key(None, n=3)
    assert run(service.answer(3, twice=True)) == 6
    assert run(service.answer.invalidate(3)) is True
    assert run(service.answer.invalidate(3)) is False
    assert run(service.answer.refresh(3)) == 3
    assert list(inspect.signature(service.answer).parameters) == ["n", "twice"]
    assert service.answer.__name__ == "answer"
    assert service.answer == service.answer != Service().answer


def test_an_object_is_in_the_key_only_when_asked_for_and_then_needs_an_identity(cached):
    class Named:
        def __init__(self, name):
            self.name = name

        def __cache_key__(self):
            return self.name

        @cached(self_in_key=True)
        def greet(self):
            return f"I am {self.name}"

    @dataclass
    class Plain:
        name: str

        @cached(self_in_key=True)
        def greet(self):
            return f"I am {self.name}"

    class Nobody:
        @cached(self_in_key=True)
        def greet(self):
            return "?"

    run = cached.run
    for kind in (Named, Plain):
        assert [run(kind(name).greet()) for name in "aba"] == ["I am a", "I am b", "I am a"]
        assert kind("a").greet.key() == kind("a").greet.key() != kind("b").greet.key()
    with pytest.raises(InvalidKey, match=r"Nobody.greet.*self") as caught:
        run(Nobody().greet())
    assert "__cache_key__" in caught.value.hint


@pytest.mark.parametrize("outside", [True, False])
def test_class_and_static_methods_stack_in_either_order(cached, outside):
    def stacked(kind):
        return lambda function: cached()(kind(function)) if outside else kind(cached()(function))

    class Shop:
        @stacked(classmethod)
        def price(cls, n):
            return [cls.__name__, n]

        @stacked(staticmethod)
        def tax(n):
            return n / 4

    run = cached.run
    assert run(Shop.price(2)) == run(Shop().price(2)) == ["Shop", 2]
    assert Shop.tax.key(2) == Shop().tax.key(2) != Shop.tax.key(3)
    assert run(Shop.tax(2)) == 0.5
    assert run(Shop.tax.invalidate(2)) is True
    assert len(cached.cache.keys()) == 1


def test_a_class_is_told_apart_from_its_heirs_when_asked_for(cached):
    class Base:
        @cached(self_in_key=True)
        @classmethod
        def name(cls):
            return cls.__name__

    class Heir(Base):
        pass

    assert [cached.run(kind.name()) for kind in (Base, Heir, Base)] == ["Base", "Heir", "Base"]


def test_a_function_that_is_only_lent_to_a_class_keeps_its_first_argument(cached):
    @cached()
    def double(n):
        return n * 2

    class Borrower:
        twice = double

    assert Borrower.twice is double
    assert [cached.run(double(n)) for n in (1, 2)] == [2, 4]


def test_a_bound_method_is_cached_as_its_function_is(cached):
    class Service:
        def answer(self, n):
            return n

    one, other = cached()(Service().answer), cached()(Service().answer)
    assert one.key(1) == other.key(1) != one.key(2)
    assert cached.run(one(1)) == 1


# -- functions of all kinds


def test_a_partial_is_the_call_it_stands_for(cached):
    def power(base, exponent=2):
        return base**exponent

    whole, cube = cached()(power), cached()(functools.partial(functools.partial(power), exponent=3))
    of_two = cached()(functools.partial(power, 2))
    assert cube.key(2) == whole.key(2, 3) == of_two.key(3) == whole.key(2, exponent=3)
    assert [cached.run(call) for call in (whole(2), cube(2), of_two(5))] == [4, 8, 32]


def test_an_object_that_can_be_called_is_part_of_the_key(cached):
    @dataclass(frozen=True)
    class Scale:
        factor: int

        def __call__(self, n):
            return n * self.factor

    class Nobody:
        def __call__(self, n):
            return n

    two, three = cached()(Scale(2)), cached()(Scale(3))
    assert two.key(1) == cached()(Scale(2)).key(1) != three.key(1)
    assert [cached.run(call) for call in (two(5), three(5))] == [10, 15]
    with pytest.raises(CacheError, match="Nobody would share") as caught:
        cached()(Nobody())
    assert "__cache_key__" in caught.value.hint
    assert cached.run(cached(key="nobody")(Nobody())(4)) == 4


def test_builtins_and_classes_are_functions_as_well(cached):
    assert cached.run(cached()(operator.add)(1, 2)) == 3
    assert cached.run(cached()(max)(1, 5)) == 5
    assert cached()(max).key(1, 5) != cached()(max).key(5, 1) != cached()(min).key(5, 1)
    assert cached.run(cached()(complex)(1, 2)) == 1 + 2j


def test_lambdas_are_told_apart_by_what_they_do(cached):
    double, triple, again = (lambda n: n * 2), (lambda n: n * 3), (lambda n: n * 2)
    assert cached()(double).key(4) == cached()(again).key(4) != cached()(triple).key(4)
    inner, other = (lambda n: {m + 1 for m in (n, 1)}), (lambda n: {m + 1 for m in (n, 2)})
    assert cached()(inner).key(4) != cached()(other).key(4)
    assert [cached.run(cached()(one)(4)) for one in (double, triple)] == [8, 12]


def test_closures_are_told_apart_by_the_plain_values_they_close_over(cached):
    def make(model, calls):
        @cached()
        def ask(text):
            calls.append(model)
            return f"{model}: {text}"

        return ask

    calls: list[str] = []
    small, large = make("small", calls), make("large", calls)
    answers = [cached.run(ask("hi")) for ask in (small, large, make("small", []))]
    assert answers == ["small: hi", "large: hi", "small: hi"]
    assert calls == ["small", "large"]


def test_what_a_closure_counts_is_not_in_its_key(cached):
    count = 0

    @cached()
    def counted(n):
        nonlocal count
        count += 1
        return n

    assert [cached.run(counted(1)) for _ in range(3)] == [1, 1, 1]
    assert count == 1


def test_a_decorated_function_is_known_by_its_name_still(cached):
    def noisy(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    class Service:
        @cached()
        @noisy
        def answer(self, n=1):
            return n

    assert Service().answer.key() == Service().answer.key(1)
    assert cached.run(Service().answer(n=5)) == 5


@pytest.mark.parametrize("place", ["function", "partial", "method", "object"])
@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_generators_are_refused_wherever_they_hide(cached, place, kind):
    def numbers(self=None):
        yield 1

    async def anumbers(self=None):
        yield 1

    function = numbers if kind == "generator" else anumbers
    hidden = {
        "function": function,
        "partial": functools.partial(function, None),
        "method": classmethod(function),
        "object": type("Numbers", (), {"__call__": function})(),
    }[place]
    with pytest.raises(CacheError, match="generator") as caught:
        cached()(hidden)
    assert "list" in caught.value.hint


def test_what_cant_be_called_is_refused(cached):
    with pytest.raises(CacheError, match="can be called"):
        cached()(42)


def test_an_argument_without_a_canonical_form_is_named(cached):
    @cached()
    def ask(question, client):
        return question

    with pytest.raises(InvalidKey, match=r"ask has no key.*client"):
        cached.run(ask("?", object()))
    with pytest.raises(TypeError, match="client"):
        ask.key("?")


def test_classes_and_objects_that_name_themselves_are_arguments(cached):
    class Client:
        def __init__(self, url):
            self.url = url

        def __cache_key__(self):
            return self.url

    @cached()
    def ask(client, kind=int):
        return client.url

    assert ask.key(Client("a")) == ask.key(Client("a"), int) != ask.key(Client("b"))
    assert ask.key(Client("a"), str) != ask.key(Client("a"))
    assert len({ask.key(one) for one in (Client("a"), "a", ("Client", "a"))}) == 3


def test_the_context_is_passed_and_is_no_part_of_the_key(cached):
    class Service:
        @cached(ttl=60)
        def answer(self, ctx, n):
            ctx.tags = [f"n:{n}"]
            return n

    @cached(ttl=60)
    def tagged(ctx, n, step=1):
        ctx.tags = ["t"]
        return n + step

    run, cache = cached.run, cached.cache
    assert run(tagged(1)) == 2
    assert run(Service().answer(7)) == 7
    assert cache.keys(tag="t") == [tagged.key(1, step=1)]
    assert cache.keys(tag="n:7") == [Service.answer.key(None, 7)]
    assert list(inspect.signature(tagged).parameters) == ["n", "step"]
    assert list(inspect.signature(Service().answer).parameters) == ["n"]


def test_a_condition_gets_the_arguments_and_may_say_no(cached):
    asked, calls = [], []

    @cached(condition=lambda n, fresh=False: asked.append((n, fresh)) or not fresh)
    def square(n, fresh=False):
        calls.append(n)
        return n * n

    assert [cached.run(square(3)), cached.run(square(3)), cached.run(square(3, fresh=True))] == [9, 9, 9]
    assert asked == [(3, False), (3, False), (3, True)]
    assert len(calls) == 2


def test_a_view_of_a_namespace_caches_in_it(cached):
    cache = cached.cache

    @cache.cache.namespace("tenant").cached()
    def answer(n):
        return n

    cached.run(answer(1))
    assert cache.keys() == []
    assert cache.keys(namespace="tenant") == [answer.key(1)]
    assert cached.run(answer.invalidate(1)) is True


def test_a_failing_function_is_asked_again(cached):
    answers = iter([OSError("away"), 5])

    @cached()
    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(OSError, match="away"):
        cached.run(ask())
    assert cached.run(ask()) == 5


def test_a_refresh_replaces_the_result_and_leaves_it_when_the_function_fails(open_cache, tiers):
    cache, answers = open_cache(tiers), iter([1, OSError("away"), 2])

    @cache.cache.cached(ttl=60, tags=["t"])
    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    run = cache._ended
    assert run(ask()) == 1
    cache.set("page", "made of it", depends_on=[ask.key()])
    with pytest.raises(OSError, match="away"):
        run(ask.refresh())
    assert (run(ask()), cache.get("page")) == (1, "made of it")
    assert run(ask.refresh()) == run(ask()) == 2
    assert cache.get("page") is None
    assert cache.keys(tag="t") == [ask.key()]


def test_a_refresh_that_isnt_kept_leaves_nothing_older(open_cache, tiers):
    cache, answers = open_cache(tiers), iter([1, 2, 3])

    @cache.cache.cached(store_if=lambda value: value != 2)
    def ask():
        return next(answers)

    run = cache._ended
    assert [run(ask()), run(ask()), run(ask.refresh()), run(ask())] == [1, 1, 2, 3]


@pytest.mark.parametrize("kept", [True, False])
def test_a_refresh_leaves_what_began_after_it(tmp_path, tiers, kept):
    with Cache(tiers=tiers, directory=tmp_path) as cache:

        @cache.cached(key="k", store_if=lambda value: kept)
        def ask():
            cache.set("k", "newer")
            return "computed"

        cache.set("k", "older")
        assert ask.refresh() == "computed"
        assert cache.get("k") == "newer"


def test_a_refresh_beats_a_computation_that_began_before_it(tmp_path):
    computing, go_on, answers = threading.Event(), threading.Event(), iter(["old", "new"])

    with Cache(directory=tmp_path) as cache, ThreadPoolExecutor(1) as threads:

        @cache.cached()
        def ask():
            answer = next(answers)
            if answer == "old":
                computing.set()
                assert go_on.wait(30)
            return answer

        began_before = threads.submit(ask)
        assert computing.wait(30)
        assert ask.refresh() == "new"
        go_on.set()
        assert began_before.result() == "old"
        assert ask() == "new"


def module_level(n: int = 3) -> int:
    """Its docstring."""
    return n


def test_the_wrapper_looks_like_its_function(cached):
    wrapper = cached()(module_level)
    assert (wrapper.__name__, wrapper.__doc__, wrapper.__wrapped__) == ("module_level", "Its docstring.", module_level)
    assert inspect.signature(wrapper) == inspect.signature(module_level)
    assert wrapper.key() == wrapper.key(3)
    assert wrapper.key().startswith(f"{__name__}:module_level:v1:")


blocking = Cache({"tiers": ["memory"], "enabled": False})


@blocking.cached()
def importable(n):
    return n + 1


blocking.close()


def test_a_wrapper_is_pickled_by_its_name():
    assert importable.__reduce__() == "importable"


@pytest.mark.parametrize(
    "options", [{"key": "user:{n}"}, {"key": "user:{n.id}"}, {"key": "user:{n!r}"}, {"tags": ["user:{n}"]}]
)
def test_a_text_with_an_argument_in_braces_is_refused_for_it_is_the_same_for_every_call(tmp_path, options):
    with Cache(directory=tmp_path, tiers=["memory"]) as cache:
        with pytest.raises(InvalidKey, match=r"is the same for every call: nothing stands in for \{n\}") as caught:
            cache.cached(**options)(lambda n: n)
        assert caught.value.hint == f"give {next(iter(options))}= a function of the arguments"
        assert cache.cached(key="set:{a}", tags=["{}"])(lambda n: n)(1) == 1


# -- coroutines


def test_a_coroutine_function_on_a_blocking_cache_is_refused_where_it_is_decorated(tmp_path):
    async def slow():
        return 1

    class Slow:
        async def __call__(self):
            return 1

    with Cache(directory=tmp_path, tiers=["memory"]) as cache:
        for function in (slow, functools.partial(slow), Slow(), staticmethod(slow)):
            with pytest.raises(CacheError, match="coroutine function") as caught:
                cache.cached(key="k")(function)
            assert caught.value.hint == "use AsyncCache"


def test_on_a_loop_plain_functions_are_awaited_too_and_frameworks_can_tell(tmp_path):
    async def main():
        async with AsyncCache(directory=tmp_path, tiers=["memory"]) as cache:
            plain = cache.cached()(lambda n: n + 1)

            class Service:
                @cache.cached()
                async def slow(self, n):
                    return n * 2

            assert asyncio.iscoroutinefunction(plain)
            assert inspect.iscoroutinefunction(Service().slow.__call__)
            assert await plain(1) == 2
            assert await Service().slow(4) == 8
            assert await Service().slow.invalidate(4)

    asyncio.run(main())


# -- keys in general

SIMPLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5)
)
VALUES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner), max_leaves=5)


def told(value: Any) -> Any:
    """Equal exactly for values that are the same with the same types all through."""
    if isinstance(value, list | tuple):
        return (type(value), [told(item) for item in value])
    return (type(value), repr(value))


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_two_calls_share_a_key_exactly_when_their_arguments_are_the_same(ours, theirs):
    described = Described(lambda *args: args)
    same = [told(value) for value in ours] == [told(value) for value in theirs]
    assert (described.key(tuple(ours), {}) == described.key(tuple(theirs), {})) is same


@given(st.permutations(["a", "b", "c"]), st.integers(0, 3), st.lists(st.integers(), min_size=3, max_size=3))
def test_how_an_argument_is_passed_makes_no_difference(order, positional, values):
    def function(a, b, c=None):
        return None

    described = Described(function)
    by_name = dict(zip("abc", values, strict=True))
    args = tuple(values[:positional])
    kwargs = {name: by_name[name] for name in order if name not in "abc"[:positional]}
    assert described.key(args, kwargs) == described.key(tuple(values), {})


@pytest.mark.parametrize("wrong", [{"ttl": "soon"}, {"namespace": ""}, {"key": ""}, {"tags": [""]}, {"tags": "t"}])
def test_what_no_call_could_be_made_with_fails_at_the_decoration(cached, wrong):
    with pytest.raises(CacheError):
        cached(**wrong)(module_level)
    if "key" not in wrong:
        with pytest.raises(CacheError):
            cached.cache.through(loader=str, **wrong)
        with pytest.raises(CacheError):
            cached.cache.hash("k", **wrong)
        with pytest.raises(CacheError):
            cached.cache.behind(writer=print, **wrong)


def test_an_option_that_isnt_there_is_named(cached):
    with pytest.raises(TypeError, match=r"cached\(\) .*'tll'"):
        cached(tll=5)(module_level)
    with pytest.raises(TypeError, match=r"through\(\) .*'tll'"):
        cached.cache.through(loader=str, tll=5)


def test_tags_may_be_given_as_an_iterator(cached):
    @cached(tags=iter(["t"]))
    def answer(n):
        return n

    assert [cached.run(answer(n)) for n in (1, 2)] == [1, 2]
    assert sorted(cached.cache.keys(tag="t")) == sorted([answer.key(1), answer.key(2)])


@given(st.lists(st.integers(), max_size=4), st.dictionaries(st.sampled_from("abcd"), st.integers()))
def test_a_call_that_the_function_wouldnt_take_has_no_key(args, kwargs):
    def function(a, b, c=None):
        return a, b, c

    described = Described(function)
    try:
        taken = function(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            described.key(tuple(args), kwargs)
    else:
        assert described.key(tuple(args), kwargs) == described.key(taken, {})
