"""Images go in, features come out: of the right network, in the order of their index, and never mixed with others."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from galaxy10.catalogue import read_embeddings
from galaxy10.catalogue.embed import NetworkChoice, embed
from galaxy10.catalogue.embeddings import FEATURES, Embeddings, features_path, index_path, merge_embeddings
from galaxy10.catalogue.writer import IncompleteCatalogue
from galaxy10.data.dihedral import tta_views
from galaxy10.data.images import read_image
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json
from galaxy10.models.factory import load_classifier
from galaxy10.models.features import FeatureHook
from galaxy10.prediction.options import PredictOptions
from tests.catalogue.renames import interrupted_at_rename
from tests.galaxies import BAD, galaxy, write_folder

FILES = {"features.npy", "index.parquet", "index.json", "index.failed.csv"}
FAILURE = ("a.png", 0, "empty file (0 bytes)")


def lines(first: int, number: int) -> pa.Table:
    """Rows of a part, whose features say which line they belong to."""
    features = np.arange(first, first + number, dtype=np.float16)[:, None] * np.ones(3, np.float16)
    return pa.table(
        {
            "path": pa.array([f"{i}.png" for i in range(first, first + number)], pa.string()),
            "row": np.zeros(number, np.int64),
            FEATURES: pa.array([row.tobytes() for row in features], pa.binary(6)),
        }
    )


def write(embeddings: Embeddings, *parts: pa.Table, failures=(), overwrite: bool = False) -> None:
    with embeddings.writing(overwrite) as about:
        assert about is None
        for number, part in enumerate(parts):
            if not embeddings.has(number):
                embeddings.add(number, part, failures if number == 0 else ())
        embeddings.finish(len(parts), {})


def assert_lines_fit(folder, number):
    features, index = read_embeddings(folder)
    assert isinstance(features, np.memmap)
    assert (features.dtype, features.shape) == (np.float16, (number, 3))
    assert index["path"].tolist() == [f"{int(i)}.png" for i in features[:, 0]] == [f"{i}.png" for i in range(number)]
    assert index.columns.tolist() == ["path", "row"]


def test_features_are_in_the_order_of_the_index_also_after_a_kill_at_any_rename(tmp_path):
    parts = [lines(0, 5), lines(5, 0), lines(5, 4)]
    # The plan, two files of each part, failures of the first, features, failures, index, record.
    for moment in range(12):
        folder = tmp_path / f"killed{moment}"
        with pytest.raises(KeyboardInterrupt), interrupted_at_rename(moment):
            write(Embeddings(index_path(folder), {"weights": 1}), *parts, failures=[FAILURE])
        with pytest.raises(Galaxy10Error, match=r"not finished; run the same|holds no embeddings"):
            read_embeddings(folder)
        (folder / ".features.npy.1-abc.part").touch()  # as SIGKILL leaves it
        write(Embeddings(index_path(folder), {"weights": 1}), *parts, failures=[FAILURE])
        assert_lines_fit(folder, 9)
        assert {path.name for path in folder.iterdir()} - {".index.parquet.lock"} == FILES
        assert read_json(folder / "index.json")["failed"] == 1


def test_other_weights_or_inputs_are_refused_with_the_option_that_replaces_them(tmp_path):
    first, other = (Embeddings(index_path(tmp_path), {"weights": w}) for w in (1, 2))
    write(first, lines(0, 4))
    assert first.finished()["catalogued"] == 4
    with pytest.raises(Galaxy10Error, match=r"exists already \(different: weights\).*--overwrite"):
        other.check_name(overwrite=False)
    write(other, lines(0, 6), overwrite=True)
    assert_lines_fit(tmp_path, 6)
    (tmp_path / "index.parquet").unlink()
    (tmp_path / "index.json").unlink()
    with pytest.raises(Galaxy10Error, match="exists already and has no index"):
        first.check_name(overwrite=False)


@pytest.mark.long
def test_shards_joined_are_the_whole(tmp_path):
    write(Embeddings(index_path(tmp_path / "whole"), {"shard": None}), lines(0, 9))
    write(
        Embeddings(index_path(tmp_path, (0, 2)), {"shard": [0, 2], "file_sizes": "01"}), lines(0, 5), failures=[FAILURE]
    )
    with pytest.raises(Galaxy10Error, match="shards of embeddings; join them with galaxy10 merge"):
        read_embeddings(tmp_path)
    with pytest.raises(Galaxy10Error, match="shards 1 of 2"):
        merge_embeddings(tmp_path, False)
    with pytest.raises(
        Galaxy10Error, match=r"of another command \(index.0-of-2.json, different: weights\); .*--overwrite"
    ):
        Embeddings(index_path(tmp_path, (1, 2)), {"shard": [1, 2], "weights": 2}).check_name(overwrite=False)
    write(Embeddings(index_path(tmp_path, (1, 2)), {"shard": [1, 2], "file_sizes": "02"}), lines(5, 4))
    record = merge_embeddings(tmp_path, False)
    assert (record["failed"], record["plan"]["file_sizes"]) == (1, f"{3:016x}")
    assert_lines_fit(tmp_path, 9)
    for name in ("features.npy", "index.parquet"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert merge_embeddings(tmp_path, False)["catalogued"] == 9  # once more: nothing to do
    with pytest.raises(Galaxy10Error, match="holds no shards"):
        merge_embeddings(tmp_path / "whole", False)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    write(Embeddings(index_path(tmp_path), {}), lines(0, 4))
    np.save(features_path(index_path(tmp_path)), np.zeros((3, 3), np.float16))
    with pytest.raises(Galaxy10Error, match=r"has 3 lines, .* 4, and its record says 4"):
        read_embeddings(tmp_path)
    (tmp_path / "features.npy").write_bytes(b"no array")
    with pytest.raises(Galaxy10Error, match="is damaged"):
        read_embeddings(tmp_path)
    with pytest.raises(Galaxy10Error, match="holds no embeddings"):
        read_embeddings(tmp_path / "nowhere")


@torch.inference_mode()
def expected(run, path, views=1):
    """Features and probabilities of one image by the run's own module."""
    module = load_classifier(run / "checkpoints/best.ckpt")
    hook = FeatureHook(module.network, module.num_classes)
    inputs = module.known_preprocessing.eval_transform(torch.from_numpy(read_image(path).pixels)[None])
    found = []
    for view in tta_views(inputs, views):
        probabilities = module.probabilities(view)
        found.append((hook.features[0], probabilities[0]))
    return torch.stack([f for f, _ in found]).mean(0).numpy(), torch.stack([p for _, p in found]).mean(0).numpy()


@pytest.mark.long
def test_a_runs_features_are_those_before_its_last_layer(run, galaxy10, here, tmp_path):
    write_folder(tmp_path / "images", 5)
    done = galaxy10("embed", run, "images", "-o", "out")
    assert (done.code, done.out.strip()) == (3, "out/index.parquet"), done.err
    assert "9 of 14 images embedded, 5 could not be read: out/index.failed.csv" in done.err
    features, index = read_embeddings(tmp_path / "out")
    assert features.shape == (9, 64)
    assert index.columns.tolist() == ["path", "row", "predicted", "predicted_name", "p_predicted", "filled", "quality"]
    failed = pd.read_csv(tmp_path / "out/index.failed.csv")["path"]
    assert {path.rpartition("/")[2] for path in failed} == BAD
    for number, line in enumerate(index.itertuples()):
        vector, probabilities = expected(run, tmp_path / line.path)
        assert np.allclose(features[number], vector, rtol=2e-3, atol=1e-3), line.path
        assert line.predicted == probabilities.argmax()
        assert line.p_predicted == pytest.approx(probabilities.max(), abs=1e-5)
    again = here("galaxy10", "embed", run, "images", "-o", "out")
    assert (again.code, again.out, again.err) == (3, done.out, "")  # nothing is computed
    Image.fromarray(galaxy(99)).save(tmp_path / "images/new.png")
    other = here("galaxy10", "embed", run, "images", "-o", "out")
    assert other.code == 2
    assert "different: file_sizes, images, inputs); give another -o, or --overwrite" in other.message
    assert read_embeddings(tmp_path / "out")[0].shape == (9, 64)


@pytest.mark.long
def test_views_are_averaged_and_interrupted_work_is_resumed(run, tmp_path, monkeypatch):
    for seed in range(10):
        Image.fromarray(galaxy(seed)).save(tmp_path / f"{seed}.png")
    inputs, out, options = [str(tmp_path / "?.png")], tmp_path / "out", PredictOptions(tta_views=8, batch_size=1)
    add, added = Embeddings.add, []

    def full_after_one(self, number, table, failures):
        added.append(number)
        if len(added) == 2:
            raise OSError(28, "No space left on device")
        add(self, number, table, failures)

    monkeypatch.setattr(Embeddings, "add", full_after_one)
    with pytest.raises(IncompleteCatalogue, match="no space left"):
        embed(NetworkChoice(run=run), inputs, out, options)
    embed(NetworkChoice(run=run), inputs, out, options)
    assert added == [0, 1, 1, 2]  # the part that was finished is not computed again
    features, index = read_embeddings(out)
    for number in (0, 9):
        vector, _ = expected(run, index["path"][number], views=8)
        assert np.allclose(features[number], vector, rtol=2e-3, atol=1e-3)
    with pytest.raises(Galaxy10Error, match=r"different: tta_views\)"):
        embed(NetworkChoice(run=run), inputs, out, PredictOptions(batch_size=1))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["images", "-o", "out"], "is no run directory; give one before the inputs, or a pretrained network"),
        (["RUN", "-o", "out"], "no input follows the run"),
        (["RUN", "RUN2", "images", "-o", "out"], "features are those of one network; leave out RUN2"),
        (["RUN", "images", "--model", "resnet50", "-o", "out"], "are two networks; leave out one of them"),
        (["RUN", "images", "--image-size", "64", "-o", "out"], "--image-size belongs to --model"),
        (["RUN", "images", "-o", "out.parquet"], "is a file; give the folder to write, such as -o out"),
        (["RUN", "images", "-o", "out", "--tta-views", "0"], "type one of 1, 2, 4, 8"),
        (["RUN", "images", "-o", "out", "--shard", "4/4"], "i from 0 to n − 1"),
        (["--model", "simple_cnn", "images", "-o", "out"], "simple_cnn has no pretrained weights"),
        (["--model", "resnet5", "images", "-o", "out"], "there is no network resnet5: did you mean resnet50?"),
        (["--model", "resnet50", "--weights", "no.pth", "images", "-o", "out"], "--weights no.pth does not exist"),
        (["--model", "resnet50", "--image-size", "8", "images", "-o", "out"], "give at least 16 px"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(run, words, said, here, tmp_path):
    for name in ("RUN", "RUN2"):
        (tmp_path / name).symlink_to(run)
    (tmp_path / "images").mkdir()
    Image.fromarray(galaxy()).save(tmp_path / "images/g.png")
    done = here("galaxy10", "embed", *words)
    assert done.code == 2, done.err
    assert said in done.message
    assert not (tmp_path / "out").exists()
