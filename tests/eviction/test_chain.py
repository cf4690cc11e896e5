"""The queue that its members carry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scoutcache.eviction.chain import Chain, Node


@given(st.lists(st.tuples(st.sampled_from(["push", "remove", "renew", "swap"]), st.integers(0, 7))))
def test_it_does_what_a_list_does(steps):
    chain, model = Chain(), []
    for step, at in steps:
        node = model[at % len(model)] if model else None
        if step == "push":
            model.append(Node(len(model), size=at))
            chain.push(model[-1])
        elif node is None:
            continue
        elif step == "remove":
            chain.remove(node)
            model.remove(node)
        elif step == "renew":
            chain.renew(node)
            model.remove(node)
            model.append(node)
        else:
            new = Node(node.key, size=at)
            chain.swap(node, new)
            model[model.index(node)] = new
        assert list(chain) == model
        assert chain.oldest is (model[0] if model else None)
        assert (chain.count, chain.size_bytes) == (len(model), sum(node.size for node in model))
        assert [chain.after(node) for node in model] == [*model[1:], None][: len(model)]


def test_a_removed_node_holds_on_to_nobody():
    chain, nodes = Chain(), [Node(number) for number in range(3)]
    for node in nodes:
        chain.push(node)
    chain.remove(nodes[1])
    assert not hasattr(nodes[1], "older")
    assert not hasattr(nodes[1], "newer")
    assert nodes[1].home is None
