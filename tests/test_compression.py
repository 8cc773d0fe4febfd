import pytest

from layerwise.compression import layers_left
from layerwise.results import Model


@pytest.mark.parametrize(
    ("ratio", "layers"), [(1.0001, 11), (1.1, 10), (1.35, 8), (1.8, 5), (2.5, 3), (3.6, 1), (10, 0)]
)
def test_as_many_layers_are_left_as_the_ratio_of_parameters_allows(ratio, layers):
    model = Model(
        base_model="scratch",
        architecture="",
        layers=12,
        hidden_size=8,
        vocabulary_size=10,
        parameters=1000,
        parameters_per_layer=[69] * 12,  # 172 are outside of the stack
    )
    assert layers_left(model, ratio) == layers
    if layers:
        assert (172 + 69 * layers) * ratio <= 1000 < (172 + 69 * (layers + 1)) * ratio
