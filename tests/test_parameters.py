import nbformat
import pytest
from conftest import ROOT
from papermill import inspect_notebook

from layerwise.errors import InputError
from layerwise.parameters import Parameters, load_profile

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ("hiden_size=32", "unknown parameter 'hiden_size', did you mean 'hidden_size'"),
        ("hidden_size=wide", "'hidden_size': input should be a valid integer, not 'wide'"),
        ("seed=one", "seeds.0.*valid integer"),
        ("balanced=1", "'balanced'.*valid boolean"),
        ("layers=0", "'layers'.*greater than or equal to 2, not 0"),
        ("learning_rate=-1", "'learning_rate'.*greater than 0"),
        ("heads=5", "hidden_size 64 cannot be shared among 5 heads"),
        ("fractions=[0.5,0.5,0.1,0.1,0.1]", "add up to 1, these add up to 1.3"),
        ("min_characters=100 max_characters=50", "min_characters 100 is above max_characters 50"),
        ("negative=bad", "negative 'bad' and positive 4.0 must be two words, or two ratings"),
        ("negative=5", "negative 5.0 and positive 4.0 must be"),
        ("negative=ok positive=ok", "must be two words"),
        ("subjects=[]", "'subjects'"),
        ("ratios=[2,0.5]", "'ratios.1': input should be greater than 1, not 0.5"),
        ("recommender_heal=[fisher]", "'recommender_heal.0': input should be 'gradient', .*, not 'fisher'"),
        ("recommender_heal=[borda_with_expert]", "'recommender_heal.0'"),
        ("heal=[fischer]", "'heal.0': input should be 'fisher', 'gradient', .*, not 'fischer'"),
        ("subjects=[a/x,b/x]", "two runs would share a folder"),
        ("layers", "'layers' is no name=value"),
    ],
)
def test_a_bad_override_is_refused_in_one_sentence_that_names_it(overrides, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        load_profile("quick", overrides)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_is_answered_with_the_known_ones():
    with pytest.raises(
        InputError, match="no profile 'quik'; choose one of: electronics, electronics_cpu, full, quick, smoke"
    ):
        load_profile("quik")


@pytest.mark.parametrize("profile", ["smoke", "quick", "electronics", "electronics_cpu", "full"])
def test_every_profile_that_is_shipped_passes_the_schema(profile):
    assert all(run.profile == profile for run in load_profile(profile)[1])


def test_overrides_win_over_the_profile_and_over_what_it_says_of_a_subject():
    _, (scratch, minilm, llama) = load_profile("electronics", "seed=0 learning_rate=1e-5 selection_reviews=100")
    assert {run.learning_rate for run in (scratch, minilm, llama)} == {1e-5}
    assert {run.selection_reviews for run in (scratch, minilm, llama)} == {100}


def test_what_a_subject_has_of_its_own_is_not_for_the_stages_that_run_once():
    shared, (scratch, *_) = load_profile("electronics")
    assert scratch.bf16 and not shared.bf16  # of the recommender's training, too
    shared, (minilm,) = load_profile("quick", "subjects=[minilm] bf16=true")
    _, plain = load_profile("quick")
    assert shared.bf16 and shared.ratios == plain[0].ratios != minilm.ratios
    assert (shared.subject, shared.seed, shared.subjects) == (minilm.subject, minilm.seed, minilm.subjects)


@pytest.mark.parametrize("own", ["source: other.csv", "llm: smollm2-12", "recommender_epochs: 2", "seed: 3"])
def test_subjects_share_their_reviews_and_what_runs_once(tmp_path, monkeypatch, own):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "Snakefile").touch()
    (tmp_path / "profiles" / "mine.yml").write_text(f"subjects: {{scratch: {{{own}}}}}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"subject 'scratch' cannot have a '{own.split(':')[0]}' of its own"):
        load_profile("mine")


def test_what_a_subject_needs_of_its_own_need_not_go_with_what_is_shared(tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "Snakefile").touch()
    (tmp_path / "profiles" / "mine.yml").write_text("{hidden_size: 70, subjects: {scratch: {heads: 5, bf16: true}}}")
    monkeypatch.chdir(tmp_path)
    shared, (run,) = load_profile("mine")
    assert (run.heads, run.bf16, shared.bf16) == (5, True, False)


def test_a_subject_and_a_seed_can_be_chosen_by_their_singular():
    _, (run,) = load_profile("quick", "base_model=org/some-bert seed=3")
    assert (run.subject, run.seed, run.run_dir.parts[-3:]) == ("some-bert", 3, ("quick", "some-bert", "seed3"))


def test_a_pretrained_subject_has_another_recipe_than_one_from_scratch():
    _, (scratch, minilm) = load_profile("quick")
    assert scratch.learning_rate > minilm.learning_rate and scratch.epochs > minilm.epochs


def test_a_misspelt_parameter_that_papermill_let_through_is_refused_in_the_notebook():
    namespace = {"profile": "mine", "hiden_size": 3, "In": [], "Out": {}, "_dh": [], "exit": object()}
    with pytest.raises(InputError, match="unknown parameter 'hiden_size'"):
        Parameters.from_notebook(namespace)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_s_defaults_are_those_of_the_schema(notebook):
    (cell,) = [c for c in nbformat.read(notebook, 4).cells if "parameters" in c.metadata.get("tags", [])]
    namespace = {}
    exec(cell.source, namespace)
    for name in inspect_notebook(str(notebook)):
        assert namespace[name] == Parameters.model_fields[name].default, name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(notebook):
    for cell in nbformat.read(notebook, 4).cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)
