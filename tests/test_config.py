import nbformat
import pytest
from conftest import ROOT
from papermill import inspect_notebook

from layerwise.errors import InputError
from layerwise.study.config import Parameters
from layerwise.study.profiles import load_profile

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
        ("models=[]", "'models'"),
        ("ratios=[2,0.5]", "'ratios.1': input should be greater than 1, not 0.5"),
        ("recommender_heal=[fisher]", "'recommender_heal.0': .*should be one of gradient, .*, not 'fisher'"),
        ("recommender_heal=[borda_with_expert]", "'recommender_heal.0'"),
        ("heal=[fischer]", "'heal.0': .*should be one of fisher, gradient, .*, not 'fischer'"),
        ("models=[a/x,b/x]", "two runs would share a folder"),
        ("layers", "'layers' is no name=value"),
    ],
)
def test_a_bad_override_is_refused_in_one_sentence_that_names_it(overrides, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        load_profile("quick", overrides)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_is_refused_with_a_list_of_profiles():
    with pytest.raises(
        InputError, match="no profile 'quik'; choose one of: electronics, electronics_cpu, full, own, quick, smoke"
    ):
        load_profile("quik")


@pytest.mark.parametrize("profile", ["smoke", "quick", "own", "electronics", "electronics_cpu", "full"])
def test_every_profile_of_the_project_is_valid(profile):
    assert all(run.profile == profile for run in load_profile(profile)[1])


def test_overrides_replace_values_of_the_profile_and_of_its_models():
    _, (scratch, minilm, llama) = load_profile("electronics", "seed=0 learning_rate=1e-5 selection_reviews=100")
    assert {run.learning_rate for run in (scratch, minilm, llama)} == {1e-5}
    assert {run.selection_reviews for run in (scratch, minilm, llama)} == {100}


def test_parameters_of_one_model_do_not_apply_to_shared_stages():
    shared, (scratch, *_) = load_profile("electronics")
    assert scratch.bf16 and not shared.bf16  # which the training of the recommender reads
    shared, (minilm,) = load_profile("quick", "models=[minilm] bf16=true")
    assert shared.bf16 and shared.ratios != minilm.ratios
    assert (shared.model_name, shared.seed, shared.models) == (minilm.model_name, minilm.seed, minilm.models)


@pytest.mark.parametrize("own", ["source: other.csv", "llm: smollm2-12", "recommender_epochs: 2", "seed: 3"])
def test_models_share_their_reviews_and_the_shared_stages(tmp_path, monkeypatch, own):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "Snakefile").touch()
    (tmp_path / "profiles" / "mine.yml").write_text(f"models: {{scratch: {{{own}}}}}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"model 'scratch' cannot have a '{own.split(':')[0]}' of its own"):
        load_profile("mine")


def test_parameters_of_one_model_need_not_be_consistent_with_those_of_the_profile(tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "Snakefile").touch()
    (tmp_path / "profiles" / "mine.yml").write_text("{hidden_size: 70, models: {scratch: {heads: 5, bf16: true}}}")
    monkeypatch.chdir(tmp_path)
    shared, (run,) = load_profile("mine")
    assert (run.heads, run.bf16, shared.bf16) == (5, True, False)


def test_one_model_and_one_seed_can_be_set_as_base_model_and_seed():
    _, (run,) = load_profile("quick", "base_model=org/some-bert seed=3")
    assert (run.model_name, run.seed, run.run_dir.parts[-3:]) == ("some-bert", 3, ("quick", "some-bert", "seed3"))


def test_a_pretrained_model_has_another_recipe_than_one_from_scratch():
    _, (minilm, scratch) = load_profile("quick")
    assert scratch.learning_rate > minilm.learning_rate and scratch.epochs > minilm.epochs


def test_a_misspelt_parameter_that_papermill_accepts_is_refused_in_the_notebook():
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
