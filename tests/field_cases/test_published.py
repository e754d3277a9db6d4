"""A published file, or one that looks like it"""

import hashlib

import h5py
import pytest

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.download import PublishedFile
from galaxy10.errors import Galaxy10Error
from tests.galaxies import write_galaxies


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Two small files that this test takes for the published ones: 40 galaxies of ten classes each, and one less."""
    counts = {"full": (4,) * 10, "no_duplicates": (3, *(4,) * 9)}
    monkeypatch.setattr("galaxy10.data.published.PUBLISHED_PX", 32)
    monkeypatch.setattr("galaxy10.data.published.VARIANTS", counts)
    table = {}
    for variant in counts:
        path = write_galaxies(tmp_path / f"{variant}.h5", per_class=4, num_classes=10)
        if variant == "no_duplicates":
            with h5py.File(path, "r+") as file:
                for key in ("images", "ans"):
                    fewer = file[key][1:]
                    del file[key]
                    file[key] = fewer
        checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        table[variant] = PublishedFile(path.name, (), checksum, sum(counts[variant]), path.stat().st_size)
    monkeypatch.setattr("galaxy10.data.published.PUBLISHED", table)
    monkeypatch.setattr("galaxy10.data.download.PUBLISHED", table)
    return tmp_path


def data_of(path, variant=None) -> GalaxyData:
    data = GalaxyData("galaxy10", path=path, variant=variant)
    data.prepare_data()
    return data


def test_checksum_once(published, monkeypatch, says):
    """The published file is given by its path: its checksum is compared when the store is built, and not again."""
    assert data_of(published / "full.h5").class_names[0] == "Disturbed"
    monkeypatch.setattr("galaxy10.data.published._digest", None)  # a second comparison would fail
    (kept,) = published.glob("full-*.store/published.json")
    data_of(published / "full.h5")
    says(" ".join(kept.read_text().split()))


def test_changed_file(published, says):
    """A file has the galaxies of the published one but other bytes."""
    with h5py.File(published / "full.h5", "r+") as file:
        file["images"][7, 0, 0, 0] += 1
    with pytest.raises(Galaxy10Error, match="it is damaged or changed; download it again") as caught:
        data_of(published / "full.h5")
    says(str(caught.value))


def test_variant_is_recognised(published, says):
    """The file without duplicates is given, and no variant."""
    data = data_of(published / "no_duplicates.h5")
    note = data.source.notes[-1]
    assert note.endswith("no_duplicates.h5 is the variant no_duplicates of Galaxy10 DECaLS (39 images)")
    says(note)


def test_variant_contradicts(published, says):
    """data.variant=no_duplicates, but the full file is given."""
    with pytest.raises(Galaxy10Error, match=r"not no_duplicates; type data\.variant=full") as caught:
        data_of(published / "full.h5", "no_duplicates")
    says(str(caught.value))
