"""The radius within which images share a piece of sky"""

import numpy as np
import pytest

from galaxy10.data.split import make_split
from galaxy10.errors import Galaxy10Error
from tests.data.test_split import make_table


def test_the_field_is_pixel_scale_times_size(says):
    # 300 galaxies of 48 px at 0.03″ within 12′: fields of 1.44″
    """300 sharp images (48 px at 0.03″) lie within 12′; or half of them have no pixel scale."""
    rng = np.random.default_rng(0)
    labels, ra, dec = np.repeat([0, 1], 150), 180 + rng.uniform(0, 0.2, 300), rng.uniform(0, 0.2, 300)
    table = make_table(labels, ra, dec).assign(pxscale=0.03)
    split = make_split(table, "x", ("a", "b"), size_px=48)
    assert split.table["group"].nunique() > 290
    assert not any("pixel scale" in note for note in split.notes)
    with pytest.raises(Galaxy10Error, match="separate galaxies, too few"):
        make_split(table, "x", ("a", "b"), size_px=48, group_radius_arcsec=3600)
    unknown = make_split(table.assign(pxscale=np.where(labels, 0.03, np.nan)), "x", ("a", "b"), size_px=48)
    assert any(note.startswith("150 images have no pixel scale (pxscale): a field of 67″") for note in unknown.notes)
    says(f"{split.table['group'].nunique()} groups; {unknown.notes[0]}")
