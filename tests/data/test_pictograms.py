import json
from collections import Counter

import numpy as np
import pytest

from clipseg.data.kinds import HELD_OUT, SEEN, UNNAMED
from clipseg.data.pictograms import pictograms, sprites, write_vocabulary
from clipseg.errors import DataError, MissingPackageError, OutputError

LDML = '<?xml version="1.0" encoding="UTF-8"?><ldml><annotations>{}</annotations></ldml>'


@pytest.fixture
def small_cldr(tmp_path):
    """Annotations of four kinds, as CLDR writes them."""
    rows = {
        "🐱": ("cat face", "cat | face | pet | purrer"),
        "🐯": ("tiger face", "tiger | face | stripe | Big Cat"),
        "🐈": ("cat", "cat | pet"),
        "🍊": ("tangerine", "fruit | orange | tangerine"),
    }
    text = "".join(
        f'<annotation cp="{character}">{words}</annotation><annotation cp="{character}" type="tts">{name}</annotation>'
        for character, (name, words) in rows.items()
    )
    for folder in ("annotations", "annotationsDerived"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "en.xml").write_text(LDML.format(text if folder == "annotations" else ""), "utf-8")
    return tmp_path


@pytest.fixture
def any_font(tmp_path):
    path = tmp_path / "font.ttf"
    path.write_bytes(b"not a font")
    return path


def test_kinds_are_many_distinct_and_never_both_seen_and_held_out():
    assert len(SEEN) >= 500
    assert len(HELD_OUT) == 60
    assert len({*SEEN, *HELD_OUT, *UNNAMED}) == len(SEEN) + len(HELD_OUT) + len(UNNAMED)
    assert all(len(character) == 1 for character in SEEN + HELD_OUT)


@pytest.mark.usefixtures("installed_pictograms")
class TestInstalled:
    def test_a_word_names_one_kind_only(self):
        kinds = pictograms()
        words = Counter(word for kind in kinds for word in (kind.name, *kind.synonyms))
        assert [word for word, count in words.items() if count > 1] == []
        assert [kind.character for kind in kinds] == [*SEEN, *HELD_OUT]
        assert all(word == word.lower().strip() and word for word in words)

    def test_a_face_is_called_by_its_animal(self):
        faces = {kind.name.removesuffix(" face"): kind for kind in pictograms() if kind.name.endswith(" face")}
        animals = ["dog", "cat", "tiger", "horse", "cow", "pig", "rabbit", "monkey"]
        assert all(animal in faces[animal].synonyms for animal in animals)
        assert faces["cold"].synonyms == (), "which is no name of a thing"

    def test_a_kind_is_called_the_same_in_every_selection(self):
        everyone = {kind.character: kind for kind in pictograms()}
        assert pictograms(HELD_OUT[:3]) == [everyone[character] for character in HELD_OUT[:3]]

    def test_every_kind_is_drawn_in_colour_trimmed_and_centred(self):
        drawn = sprites(SEEN + HELD_OUT, 64)
        assert drawn.shape == (len(SEEN) + len(HELD_OUT), 64, 64, 4)
        assert drawn.dtype == np.uint8
        for character, sprite in zip(SEEN + HELD_OUT, drawn, strict=True):
            solid = sprite[..., 3] > 127
            assert 0.08 < solid.mean() < 0.98, f"{character} is nearly empty or a mere square"
            rows, columns = np.flatnonzero(sprite[..., 3].any(1)), np.flatnonzero(sprite[..., 3].any(0))
            assert max(np.ptp(rows), np.ptp(columns)) >= 60, f"{character} is not trimmed"
            assert abs(rows[0] + rows[-1] - 63) <= 3, f"{character} is not centred"
            assert abs(columns[0] + columns[-1] - 63) <= 3, f"{character} is not centred"
            assert not sprite[0, :, 3].any()
            assert not sprite[:, 0, 3].any()

    def test_no_two_kinds_look_alike(self):
        drawn = sprites(SEEN + HELD_OUT, 24).astype(float) / 255
        drawn[..., :3] *= drawn[..., 3:]
        flat = drawn.reshape(len(drawn), -1)
        distance = np.sqrt(((flat[:, None] - flat) ** 2).mean(-1))
        np.fill_diagonal(distance, 1)
        assert distance.min() > 0.14

    def test_a_variation_selector_changes_nothing(self):
        assert np.array_equal(sprites(["☀\ufe0f"]), sprites(["☀"]))
        assert pictograms(["☀\ufe0f"]) == pictograms(["☀"])

    @pytest.mark.parametrize("characters", [["\ue123"], ["🐱", "🐱"], [], ["☀", "☀\ufe0f"]])
    def test_what_is_no_selection_of_kinds_is_refused(self, characters):
        with pytest.raises(DataError, match=r"expected|once"):
            pictograms(characters)

    def test_a_size_too_small_to_draw_in_is_refused(self):
        with pytest.raises(DataError, match="sprite size is 4"):
            sprites("🐱", 4)

    def test_the_vocabulary_is_a_list_of_named_kinds(self, tmp_path):
        kinds = pictograms("🐱🦊")
        write_vocabulary(tmp_path / "vocabulary.json", kinds)
        text = (tmp_path / "vocabulary.json").read_text("utf-8")
        rows = json.loads(text)
        assert [set(row) for row in rows] == [{"name", "synonyms", "character"}] * 2
        assert [(row["character"], row["name"], tuple(row["synonyms"])) for row in rows] == [
            (kind.character, kind.name, kind.synonyms) for kind in kinds
        ]
        assert "🦊" in text
        with pytest.raises(OutputError, match="cannot write the vocabulary"):
            write_vocabulary(tmp_path / "nowhere" / "vocabulary.json", kinds)


def test_shared_wide_and_own_words_are_no_synonyms(small_cldr, any_font):
    cat, tiger = pictograms("🐱🐯", font=any_font, cldr=small_cldr)
    assert (cat.name, cat.synonyms) == ("cat face", ("cat", "purrer"))
    assert (tiger.name, tiger.synonyms) == ("tiger face", ("big cat", "tiger"))


def test_a_name_belongs_to_the_kind_that_bears_it(small_cldr, any_font):
    face, whole = pictograms("🐱🐈", font=any_font, cldr=small_cldr)
    assert "cat" not in face.synonyms
    assert whole.name == "cat"


def test_a_missing_font_is_named_with_its_package_and_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPSEG_EMOJI_FONT", str(tmp_path / "none.ttf"))
    for call in (sprites, pictograms):
        with pytest.raises(MissingPackageError, match=r"none\.ttf.*fonts-noto-color-emoji.*CLIPSEG_EMOJI_FONT"):
            call("🐱")


def test_a_missing_cldr_is_named_with_its_package_and_variable(monkeypatch, tmp_path, any_font):
    for place in (tmp_path / "none", tmp_path):
        monkeypatch.setenv("CLIPSEG_CLDR", str(place))
        with pytest.raises(MissingPackageError, match=r"unicode-cldr-core.*CLIPSEG_CLDR"):
            pictograms("🐱", font=any_font)


def test_an_argument_goes_before_the_environment(monkeypatch, small_cldr, any_font, tmp_path):
    monkeypatch.setenv("CLIPSEG_CLDR", str(tmp_path / "none"))
    assert pictograms("🍊", font=any_font, cldr=small_cldr)[0].synonyms == ("orange",)


def test_a_file_that_is_no_colour_font_is_refused(any_font):
    with pytest.raises(DataError, match="colour bitmaps"):
        sprites("🐱", font=any_font)


def test_broken_xml_is_refused(small_cldr, any_font):
    (small_cldr / "annotations" / "en.xml").write_text("<ldml>", "utf-8")
    with pytest.raises(DataError, match="not readable as XML"):
        pictograms("🐱", font=any_font, cldr=small_cldr)
