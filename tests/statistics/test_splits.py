"""Divisions of images: sizes as asked, every class on both sides where that can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.statistics import fold_images, split_images


def truth_of(shows: np.ndarray, crowd: np.ndarray | None = None) -> GroundTruth:
    """A ground truth in which image i has a box of class k where ``shows[i, k]``."""
    image, category = (found.astype(np.int32) for found in np.nonzero(shows))
    n = len(image)
    return GroundTruth(
        10 + 3 * np.arange(len(shows)),
        5 + 2 * np.arange(shows.shape[1]),
        image,
        category,
        np.tile([0.0, 0.0, 9.0, 9.0], (n, 1)),
        np.full(n, 81.0),
        np.zeros(n, bool) if crowd is None else crowd[image, category],
        np.zeros(n, bool),
    )


@given(
    seed=st.integers(0, 2**32 - 1), images=st.integers(2, 40), classes=st.integers(1, 6), holdout=st.floats(0.05, 0.95)
)
def test_every_image_is_on_one_side_and_sizes_are_as_asked(seed, images, classes, holdout):
    shows = np.random.default_rng(seed).random((images, classes)) < 0.3
    truth = truth_of(shows)
    split = split_images(truth, holdout, seed)
    assert sorted([*split.search, *split.holdout]) == truth.image_ids.tolist()
    assert abs(len(split.holdout) - images * holdout) <= 1
    assert min(len(split.search), len(split.holdout)) >= 1
    in_search = np.isin(truth.image_ids, split.search)
    sides = shows[in_search].any(axis=0), shows[~in_search].any(axis=0)
    assert split.one_sided == tuple(truth.category_ids[sides[0] != sides[1]].tolist())
    again = split_images(truth, holdout, seed)
    assert np.array_equal(again.search, split.search)


@pytest.mark.parametrize("seed", range(30))
def test_rare_classes_are_on_both_sides(seed):
    """Many classes with two or three images each: dealing at random would lose some nearly always."""
    random = np.random.default_rng(seed)
    shows = np.zeros((120, 20), bool)
    for klass in range(20):
        shows[random.choice(120, 2 + klass % 2, replace=False), klass] = True
    truth = truth_of(shows)
    assert split_images(truth, 0.5, seed).one_sided == ()
    at_random = random.permutation(120) < 60
    lost = (shows[at_random].any(axis=0) != shows[~at_random].any(axis=0)).sum()
    assert lost > 0


@pytest.mark.parametrize("seed", range(10))
def test_common_classes_are_shared_evenly(seed):
    random = np.random.default_rng(seed)
    shows = random.random((200, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]
    fold = fold_images(truth_of(shows), 4, seed)
    assert np.bincount(fold).tolist() == [50] * 4
    counts = np.stack([shows[fold == f].sum(axis=0) for f in range(4)])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 6).all()
    assert (counts > 0).all()


@pytest.mark.parametrize(("images", "classes", "seed"), [(8, 6, 259), (8, 6, 289), (12, 10, 179), (12, 10, 294)])
def test_images_are_swapped_where_dealing_leaves_a_class_on_one_side(images, classes, seed):
    random = np.random.default_rng(seed)
    shows = np.zeros((images, classes), bool)
    for klass in range(classes):
        shows[random.choice(images, 2, replace=False), klass] = True
    assert split_images(truth_of(shows), 0.5, seed).one_sided == ()


@pytest.mark.parametrize("seed", range(10))
def test_the_rarest_class_is_dealt_first(seed):
    """All images show one class, 8 of 40 another one too: each of 4 folds gets exactly 2 of these."""
    shows = np.ones((40, 2), bool)
    shows[:, 1] = np.isin(np.arange(40), np.random.default_rng(seed).choice(40, 8, replace=False))
    fold = fold_images(truth_of(shows), 4, seed)
    assert np.bincount(fold[shows[:, 1]], minlength=4).tolist() == [2] * 4


@pytest.mark.parametrize("seed", range(20))
def test_of_equals_the_part_that_wants_most_images_gets_the_next(seed):
    """Two classes of one image each: when the second is dealt, both parts want it alike, and one has more room."""
    shows = np.zeros((4, 2), bool)
    shows[0, 0] = shows[1, 1] = True
    assert np.isin([10, 13], split_images(truth_of(shows), 0.5, seed).search).sum() == 1


def test_what_cannot_be_on_both_sides_is_told():
    shows = np.zeros((10, 3), bool)
    shows[:5, 0] = True
    shows[2, 1] = True  # one image only
    shows[3:6, 2] = True
    assert split_images(truth_of(shows)).one_sided == (7,)
    # Crowds are not to be found: a class of crowds is no class.
    crowd = np.zeros((10, 3), bool)
    crowd[:, 1] = True
    assert split_images(truth_of(shows, crowd)).one_sided == ()


def test_seeds_differ_and_folds_are_balanced():
    truth = truth_of(np.random.default_rng(0).random((53, 4)) < 0.4)
    assert not np.array_equal(fold_images(truth, 5, 0), fold_images(truth, 5, 1))
    assert sorted(np.bincount(fold_images(truth, 5, 0)).tolist()) == [10, 10, 11, 11, 11]


def test_what_cannot_be_divided_is_refused():
    truth = truth_of(np.ones((3, 1), bool))
    for share in (0, 1, 1.5):
        with pytest.raises(InputError, match="a share above 0 and below 1"):
            split_images(truth, share)
    with pytest.raises(InputError, match="cannot be divided"):
        split_images(truth_of(np.ones((1, 1), bool)))
    with pytest.raises(InputError, match="3 images are too few for 4 folds"):
        fold_images(truth, 4)
    with pytest.raises(InputError, match="folds is 1"):
        fold_images(truth, 1)
