from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from galaxy10.data import counter_rng, image_geometry
from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.dihedral import apply_dihedral, compose_dihedral, dihedral_matrices
from galaxy10.data.image_geometry import resample, resize
from galaxy10.errors import Galaxy10Error

ZEROS = torch.zeros(8, dtype=torch.int64)
PREPROCESSING = Preprocessing(image_size=24, mean=(0.1, 0.2, 0.3), std=(0.2, 0.2, 0.2), noise_sigma=(0.1, 0.1, 0.1))
RECIPES = {
    "none": Augmentation(),
    "baseline_cnn": Augmentation(dihedral="all", noise=0.2),
    "baseline_transfer": Augmentation(dihedral="horizontal_flip", crop_area=(0.08, 1.0), crop_aspect=(0.75, 1.3333)),
    "affine": Augmentation(dihedral="all", rotation_deg=180.0, zoom=(0.9, 1.2), shift=0.03, noise=0.1),
}


def galaxies(n: int = 8, size: int = 24) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


def augment(images, recipe, rows, epoch=0, seed=0, repeat_index=None):
    none = torch.zeros(len(images), dtype=torch.int64)
    return PREPROCESSING.train_transform(
        images, recipe, seed, epoch, rows, none if repeat_index is None else repeat_index, none
    )


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size_px", [24, 60])
def test_every_draw_depends_on_seed_epoch_and_row_alone(name, size_px):
    images, rows, recipe = galaxies(size=size_px), torch.arange(8) * 7, RECIPES[name]
    whole = augment(images, recipe, rows)
    order = torch.tensor([5, 2, 7])
    assert torch.equal(whole[order], augment(images[order], recipe, rows[order]))
    assert torch.equal(whole[3:4], augment(images[3:4], recipe, rows[3:4]))
    if name != "none":
        assert not torch.equal(whole, augment(images, recipe, rows, epoch=1))
        assert not torch.equal(whole, augment(images, recipe, rows, seed=1))
        assert not torch.equal(whole, augment(images, recipe, rows + 1))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size_px", [24, 60])
def test_double_precision_changes_nothing(name, size_px):
    images, rows = galaxies(size=size_px), torch.arange(8)
    single = augment(images, RECIPES[name], rows)
    torch.set_default_dtype(torch.float64)  # what Lightning does for trainer.precision=64-true
    try:
        assert torch.equal(augment(images, RECIPES[name], rows), single)
    finally:
        torch.set_default_dtype(torch.float32)


def test_without_a_recipe_the_galaxy_is_as_it_is():
    images = galaxies()
    assert torch.equal(augment(images, Augmentation(), torch.arange(8)), PREPROCESSING.eval_transform(images))
    assert torch.equal(PREPROCESSING.denormalize(PREPROCESSING.eval_transform(images)), images)


def test_orientations_are_the_eight_symmetries_of_a_square():
    image = galaxies(1)
    turned = apply_dihedral(image.expand(8, -1, -1, -1), torch.arange(8))
    expected = {
        np.rot90(flipped, k).tobytes() for flipped in (image[0].numpy(), image[0].numpy()[:, ::-1]) for k in range(4)
    }
    assert {t.numpy().tobytes() for t in turned} == expected
    assert torch.equal(turned[0], image[0])


def test_all_orientations_are_drawn_equally_often():
    drawn = (counter_rng.uniform(counter_rng.sample_seeds(0, 0, torch.arange(8000)), 1)[:, 0] * 8).long().bincount()
    assert ((drawn - 1000).abs() < 130).all()


def test_a_galaxys_orientations_stay_apart_when_balancing_shows_it_eight_times():
    images = galaxies(1).expand(8, -1, -1, -1)
    row = torch.full((8,), 5)
    shown = PREPROCESSING.train_transform(
        images, Augmentation(dihedral="all"), 0, 3, row, torch.arange(8), torch.arange(8)
    )
    assert len({s.numpy().tobytes() for s in shown}) == 8


def test_random_crops_always_show_the_galaxy():
    images = torch.zeros(500, 32, 32, 3, dtype=torch.uint8)
    images[:, 14:18, 14:18] = 255
    inputs = PREPROCESSING.train_transform(
        images, RECIPES["baseline_transfer"], 0, 0, torch.arange(500), torch.zeros(500).long(), torch.zeros(500).long()
    )
    brightest = PREPROCESSING.denormalize(inputs).flatten(1).max(dim=1).values
    assert brightest.min() > 60


def test_noise_has_the_configured_size():
    images = torch.full((64, 24, 24, 3), 128, dtype=torch.uint8)
    rows = torch.arange(64)
    noisy = augment(images, Augmentation(noise=0.2), rows) - PREPROCESSING.eval_transform(images)
    in_sigma = noisy.std() * 0.2 / 0.1  # normalised → 0–1 → units of σ
    assert abs(in_sigma - 0.2) < 0.005
    assert abs(noisy.mean()) < 0.005


def test_the_same_galaxy_shown_twice_is_varied_twice():
    images, rows = galaxies(1).expand(2, -1, -1, -1), torch.tensor([4, 4])
    shown = augment(images, RECIPES["baseline_cnn"], rows, repeat_index=torch.tensor([0, 1]))
    assert not torch.equal(shown[0], shown[1])


def test_beyond_the_border_the_sky_goes_on():
    images = torch.full((50, 24, 24, 3), 90, dtype=torch.uint8)
    rotated = augment(images, Augmentation(rotation_deg=180.0, shift=0.2), torch.arange(50))
    assert torch.allclose(rotated, PREPROCESSING.eval_transform(images), atol=1e-5)


def test_shrinking_does_not_alias():
    stripes = (torch.arange(96) % 2 * 255).to(torch.uint8)[:, None].expand(1, 96, 96, 3)
    inner = resize(stripes, 24)[:, :, 3:-3].float()
    assert (inner - 127.5).abs().max() < 3


@pytest.mark.parametrize("size", [24, 40, 70])
def test_an_interpolation_is_pillows(size):
    image = galaxies(1, 53)
    found = {}
    for name, theirs in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        preprocessing = replace(PREPROCESSING, image_size=size, interpolation=name)
        inputs = preprocessing.eval_transform(image)
        found[name] = preprocessing.denormalize(inputs)[0]
        expected = np.asarray(Image.fromarray(image[0].numpy()).resize((size, size), theirs)).astype(int)
        assert np.abs(found[name].numpy() - expected).max() <= 1
        none = torch.zeros(1, dtype=torch.int64)
        assert torch.equal(preprocessing.train_transform(image, Augmentation(), 0, 0, none, none, none), inputs)
    assert not torch.equal(found["bilinear"], found["bicubic"])


def test_preprocessing_is_made_again_from_plain_containers():
    for name in ("bilinear", "bicubic"):
        plain = Preprocessing(24, [0.1] * 3, [0.2] * 3, [0.3] * 3, name).to_dict()
        assert Preprocessing(**plain).to_dict() == plain
        assert plain.pop("interpolation") == name
        assert Preprocessing(**plain).interpolation == "bilinear"  # of a file that names none
    with pytest.raises(Galaxy10Error, match="interpolation=cubic is not one of bilinear, bicubic"):
        Preprocessing(24, [0.1] * 3, [0.2] * 3, interpolation="cubic")


def test_a_window_takes_as_many_samples_as_it_lays_pixels_on_a_pixel():
    stripes = (torch.arange(96) % 2 * 255).to(torch.uint8)[:, None].expand(2, 96, 96, 3)
    everything, a_quarter = torch.eye(2, 3), torch.eye(2, 3) * 0.25
    wide, close = resample(stripes, torch.stack([everything, a_quarter]), 24)
    assert (wide - 127.5).abs().max() < 1
    assert torch.equal(close, stripes[1, 36:60, 36:60].float())


def test_gpus_which_do_not_wait_for_the_host_sample_the_same():
    images, side = galaxies(60, 96), torch.linspace(0.1, 1.0, 60)
    windows = torch.eye(2, 3) * side[:, None, None]
    samples = torch.arange(60) % 4 + 1
    some = image_geometry._sample_some(images, windows, 24, samples)
    assert torch.allclose(some, image_geometry._sample_all(images, windows, 24, samples, 4), atol=1e-4)
    assert torch.allclose(
        some[3:4], image_geometry._sample_some(images[3:4], windows[3:4], 24, samples[3:4]), atol=1e-4
    )


def test_images_that_are_not_square_are_cropped_to_the_shorter_side():
    images = galaxies(2, 40)[:, :24]
    assert torch.equal(PREPROCESSING.eval_transform(images), PREPROCESSING.eval_transform(images[:, :, 8:32]))


def test_two_orientations_are_one():
    image = galaxies(1).expand(64, -1, -1, -1)
    first, second = torch.arange(8).repeat_interleave(8), torch.arange(8).repeat(8)
    assert torch.equal(
        apply_dihedral(image, compose_dihedral(first, second)), apply_dihedral(apply_dihedral(image, first), second)
    )


def test_an_orientation_through_a_window_is_that_orientation():
    images = galaxies(1).expand(8, -1, -1, -1)
    straight = torch.eye(2, 3).expand(8, 2, 3)
    through = resample(images, dihedral_matrices(torch.arange(8)) @ straight, 24)
    assert torch.allclose(through, apply_dihedral(images, torch.arange(8)).float(), atol=1e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_inputs_lie_in_memory_as_convolutions_want_them(name):
    inputs = augment(galaxies(), RECIPES[name], torch.arange(8))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert PREPROCESSING.eval_transform(galaxies(8, 40)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("normal", [counter_rng.normal, counter_rng.counted_normal])
def test_normal_numbers_are_normal_and_belong_to_their_key(normal):
    key = counter_rng.sample_seeds(0, 0, torch.arange(40))
    numbers = normal(key, 9001)
    assert torch.equal(normal(key[7:9], 9001), numbers[7:9])
    assert abs(numbers.mean()) < 0.01
    assert abs(numbers.std() - 1) < 0.01
    assert abs((numbers.abs() < 1).float().mean() - 0.6827) < 0.005
    assert abs(torch.corrcoef(numbers) - torch.eye(40)).max() < 0.05
    assert 4 < numbers.abs().max() < 6
