"""The votes of a labelled file, in the class order of the run that is evaluated."""

from galaxy10.data.hdf5 import open_source
from galaxy10.data.votes import votes_of
from galaxy10.evaluation.labelled_file import match_classes
from tests.galaxies import add_votes, write_galaxies


def test_votes_are_matched_by_the_names_of_their_classes(tmp_path):
    path = add_votes(write_galaxies(tmp_path / "g.h5", names=["edge-on", "spiral", "smooth"]), voters=10)
    source = open_source(path)
    file = match_classes(source, ("Smooth", "Merger", "Spiral", "Edge on"))
    votes, given = votes_of(file.with_votes(source.table)), votes_of(source.table)
    assert votes[:, [3, 2, 0]].tolist() == given.tolist()
    assert not votes[:, 1].any()
    assert file.labels.tolist() == votes.argmax(axis=1).tolist()
    assert file.absent == ("Merger",)


def test_a_table_without_votes_stays_as_it_is(tmp_path):
    source = open_source(write_galaxies(tmp_path / "g.h5", names=["a", "b", "c"]))
    assert match_classes(source, ("a", "b", "c")).with_votes(source.table) is source.table
