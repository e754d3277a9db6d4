"""Any split: each row in one subset, groups whole, stratified, and the same again."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from galaxy10.data.split import PROTOCOLS, make_split
from galaxy10.data.subsets import SUBSETS
from tests.properties import attempt


@st.composite
def tables(draw):
    """Tables of a store: labels, positions on a small patch, missing ones, equal pixels, groups, blank images."""
    number, num_classes = draw(st.integers(1, 120)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([1e-4, 0.1, 300.0]))
    table = pd.DataFrame(
        {
            "row": np.arange(number),
            "label": rng.integers(0, num_classes, number),
            "ra": rng.uniform(0, min(size, 360), number),
            "dec": rng.uniform(-min(size, 180) / 2, min(size, 180) / 2, number),
            "pixel_hash": rng.integers(0, draw(st.sampled_from([3, 10**6])), number),
            "blank": rng.random(number) < draw(st.sampled_from([0, 0.1, 1])),
        }
    )
    table.loc[rng.random(number) < draw(st.sampled_from([0, 0.3, 1])), ["ra", "dec"]] = np.nan
    if draw(st.booleans()):
        table["group"] = rng.integers(-1, draw(st.sampled_from([2, 20, 1000])), number)
    if draw(st.booleans()):
        table["pxscale"] = rng.choice([np.nan, 0.0, 0.03, 0.262, 1e6], number)
    if draw(st.booleans()):
        table["given_subset"] = rng.choice([*SUBSETS, ""], number)
    return table, tuple(f"class {k}" for k in range(num_classes))


options = st.one_of(
    st.fixed_dictionaries({"protocol": st.sampled_from([*PROTOCOLS, "file"])}),
    st.integers(2, 6).flatmap(
        lambda n: st.fixed_dictionaries({"num_folds": st.just(n), "fold": st.integers(0, n - 1)})
    ),
)
common = st.fixed_dictionaries(
    {
        "split_seed": st.integers(0, 2**31),
        "duplicates": st.sampled_from(["drop", "first", "keep"]),
        "blanks": st.sampled_from(["drop", "keep"]),
        "size_px": st.sampled_from([None, 8, 256]),
        "group_radius_arcsec": st.sampled_from([None, 0.0, 67.0, 1e5]),
    }
)


def are_whole(members, parts):
    """Whether all rows of one member are in one part."""
    return len(set(zip(members, parts, strict=True))) == len(set(members))


@given(tables(), options, common, st.text())
def test_any_table_is_split_whole_or_refused(made, option, settings, content):
    table, names = made
    split, refused = attempt(make_split, table, content, names, **option, **settings)
    if refused:
        return
    found = split.table
    assert found["row"].tolist() == table["row"].tolist()
    assert found["label"].tolist() == table["label"].tolist()
    assert set(found["subset"]) <= {*SUBSETS, "dropped"}
    assert ((found["reason"] != "") == (found["subset"] == "dropped")).all()
    kept = found[found["subset"] != "dropped"]
    if option.get("protocol") != "file":
        assert are_whole(kept["group"], kept["subset"])
    if "group" in table:
        own = kept[table.loc[kept.index, "group"] >= 0]
        assert are_whole(table.loc[own.index, "group"], own["group"])
    assert are_whole(table.loc[kept.index, "pixel_hash"], kept["group"])
    again = make_split(table.copy(), content, names, **option, **settings)
    assert again.hash == split.hash
    assert again.table.equals(found)
    assert make_split(table, content + "x", names, **option, **settings).hash != split.hash


@given(st.integers(2, 6), st.integers(3, 40), st.integers(0, 2**31), st.sampled_from(sorted(PROTOCOLS)))
def test_single_galaxies_are_split_in_the_shares_of_each_class(num_classes, per_class, seed, protocol):
    labels = np.repeat(np.arange(num_classes), per_class)
    table = pd.DataFrame({"row": np.arange(len(labels)), "label": labels, "ra": np.nan, "dec": np.nan})
    table = table.assign(pixel_hash=table["row"], blank=False)
    names = tuple(map(str, range(num_classes)))
    split = make_split(table, "", names, protocol=protocol, split_seed=seed).table
    for _, members in split.groupby("label"):
        for subset, share in zip(SUBSETS, PROTOCOLS[protocol], strict=True):
            count = (members["subset"] == subset).sum()
            assert count >= 1
            assert abs(count - share * per_class) < 2


@given(tables(), st.integers(3, 5), st.integers(0, 2**31))
def test_folds_test_every_kept_row_once(made, num_folds, seed):
    table, names = made
    settings = {"num_folds": num_folds, "split_seed": seed}
    made = [attempt(make_split, table, "", names, fold=fold, **settings) for fold in range(num_folds)]
    if made[0][1]:
        assert all(refused for _, refused in made)
        return
    folds = [fold for fold, _ in made]
    tested = sum((fold.table["subset"] == "test").astype(int) for fold in folds)
    kept = folds[0].table["subset"] != "dropped"
    assert tested.tolist() == kept.astype(int).tolist()
