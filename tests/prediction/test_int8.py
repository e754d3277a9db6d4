import pytest

from galaxy10.prediction.int8 import NUM_IMAGES, cpu_has_int8, evenly_spaced


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_vnni\nflags\t\t: fpu", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd asimddp\n", True),
        ("processor\t: 0\n", True),  # unknown: no note
    ],
)
def test_instructions_for_8_bits_are_found_in_cpuinfo(text, has, tmp_path):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_has_int8(tmp_path / "cpuinfo") is has
    assert cpu_has_int8(tmp_path / "absent")


@pytest.mark.parametrize("number", [0, 1, 127, 128, 129, 1000, 12_345])
def test_images_that_set_the_ranges_are_spread_over_the_input(number):
    chosen = evenly_spaced(number)
    assert len(chosen) <= NUM_IMAGES
    assert len(chosen) >= min(number, NUM_IMAGES // 2)
    if number:
        assert number - chosen[-1] <= chosen.step
