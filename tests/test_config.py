"""Configuration files: complete defaults, inheritance, paths, and one clear line for every mistake."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from common.config import Config, TrainConfig, as_dict, require
from common.config_loader import load_config, preset_overrides
from common.errors import UserError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SHIPPED = [(Config, path) for path in sorted(CONFIGS.glob("*.yaml"))]
SHIPPED += [(TrainConfig, path) for path in sorted((CONFIGS / "train").glob("*.yaml"))]
DEFAULTS = [(schema, path) for schema, path in SHIPPED if path.name == "default.yaml"]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _refused(path: Path, *overrides: str, schema: type = Config) -> str:
    """The message, which has to be one line."""
    with pytest.raises(UserError) as caught:
        load_config(schema, path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return _write(tmp_path / "empty.yaml", "")


def _leaves(values: dict, prefix: str = "") -> dict:
    """`section.key` -> value; an empty mapping is a value, since some keys hold one by default."""
    found = {}
    for name, value in values.items():
        section = isinstance(value, dict) and value
        found |= _leaves(value, f"{prefix}{name}.") if section else {prefix + name: value}
    return found


@pytest.mark.parametrize("schema, path", DEFAULTS, ids=["stages", "training"])
def test_default_file_lists_every_key_with_its_default(schema, path):
    listed, expected = _leaves(yaml.safe_load(path.read_text())), _leaves(as_dict(schema()))
    assert list(listed) == list(expected)
    assert listed == expected
    # True == 1 and 10 == 10.0 in Python; what is shown has to have the right kind as well.
    assert {name: type(value) for name, value in listed.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize("schema, path", DEFAULTS, ids=["stages", "training"])
def test_every_key_of_the_default_file_is_explained(schema, path):
    lines = path.read_text().splitlines()
    # Lines that end a key without a value are sections; those within one say what it is for.
    keys = [line for line in lines if line and not re.match(r"#|\s*\w+:( +#.*)?$", line)]
    assert len(keys) == len(_leaves(as_dict(schema())))
    assert [line for line in keys if not re.fullmatch(r"\s*\w+: .*\S  +# \S.{5,}", line)] == []


@pytest.mark.parametrize("schema, path", SHIPPED, ids=[str(path.relative_to(CONFIGS)) for _, path in SHIPPED])
def test_shipped_file_loads(schema, path):
    config = load_config(schema, path)
    if path.name != "default.yaml":
        assert config.output is not None and config.output.is_relative_to(CONFIGS.parent / "outputs")
        assert path.stem == config.output.name or path.stem.startswith(f"{config.output.name}_")
        assert as_dict(config) != as_dict(schema())


def test_only_another_network_shares_an_output():
    """Its stages 1 to 3 are the same and its stage 4 has a folder of its own."""
    shared: dict = {}
    for schema, path in SHIPPED:
        if path.name != "default.yaml":
            config = load_config(schema, path)
            shared.setdefault(config.output, []).append(config)
    assert len(shared) > 5
    for configs in shared.values():
        if len(configs) > 1:
            assert len({config.deblurring.model for config in configs}) == len(configs)
        assert len({str(as_dict(config) | {"deblurring": None}) for config in configs}) == 1


METHODS = {path.stem: path for path in sorted((CONFIGS / "method").glob("*.yaml"))}
NETWORKS = sorted((CONFIGS / "networks").glob("*.yaml"))


def test_methods_set_the_same_keys():
    """So that each can take the place of another: nothing of the one before is left."""
    keys = {name: set(_leaves(yaml.safe_load(path.read_text()))) for name, path in METHODS.items()}
    assert set(keys) == {"released", "paper", "ours"}
    assert keys["released"] - keys["paper"] == {"deblurring.borders"} and keys["paper"] < keys["released"]
    assert keys["ours"] - keys["released"] == {"blurring.gamma"} and keys["released"] < keys["ours"]


def test_the_defaults_are_the_released_method():
    values = _leaves(yaml.safe_load(METHODS["released"].read_text()))
    assert values.pop("deblurring.borders") == "drop"
    defaults = _leaves(as_dict(Config()))
    assert values == {name: defaults[name] for name in values}


def test_the_table_of_the_methods_is_that_of_the_files():
    lines = (CONFIGS / "README.md").read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| key |"))
    names = [cell.strip(" `") for cell in lines[start].split("|")[2:5]]
    assert set(names) == set(METHODS)
    shown = {name: {} for name in names}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        key, *cells = (cell.strip(" `") for cell in line.split("|")[1:5])
        for name, cell in zip(names, cells):
            if cell:
                shown[name][key] = yaml.safe_load(cell)
    assert shown == {name: _leaves(yaml.safe_load(path.read_text())) for name, path in METHODS.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("networks", NETWORKS, ids=lambda path: path.stem)
def test_any_networks_go_with_any_method(tmp_path, networks, method):
    """In either order, as a base and as overrides, with the same result."""
    method = METHODS[method]
    config = load_config(Config, _write(tmp_path / "a.yaml", f"base: [{networks}, {method}]"))
    other = load_config(Config, _write(tmp_path / "b.yaml", f"base: [{method}, {networks}]"))
    assert config == other == load_config(Config, networks, preset_overrides(method))
    values = _leaves(yaml.safe_load(method.read_text()))
    assert values.items() <= _leaves(as_dict(config)).items()


def test_of_several_bases_later_ones_win(tmp_path):
    _write(tmp_path / "a.yaml", "rsdm: {ratio: 0.1, min_size: 640, border: 5}\noutput: a")
    _write(tmp_path / "sub" / "b.yaml", "base: c.yaml\nrsdm: {ratio: 0.3}\noutput: b")
    _write(tmp_path / "sub" / "c.yaml", "rsdm: {ratio: 0.4, min_size: 320}")
    path = _write(tmp_path / "own.yaml", "base: [a.yaml, sub/b.yaml]\nruntime: {seed: 1}")
    config = load_config(Config, path)
    assert (config.rsdm.ratio, config.rsdm.min_size, config.rsdm.border) == (0.3, 320, 5)
    assert config.output == tmp_path / "sub" / "b"
    assert load_config(Config, _write(tmp_path / "none.yaml", "base: []")) == Config()


def test_a_base_that_comes_twice_is_refused(tmp_path):
    """It would set everything back that was changed after it was read first."""
    default = _write(tmp_path / "default.yaml", "rsdm: {ratio: 0.2}")
    _write(tmp_path / "a.yaml", "base: default.yaml\nrsdm: {ratio: 0.1}")
    b = _write(tmp_path / "b.yaml", "base: default.yaml")
    assert _refused(_write(tmp_path / "own.yaml", "base: [a.yaml, b.yaml]")) == (
        f"{b}: base: {default} was read before and would undo what the files since then have set; "
        "leave it out"
    )


def test_a_preset_with_a_base_is_no_override(tmp_path):
    path = _write(tmp_path / "a.yaml", "base: default.yaml")
    with pytest.raises(UserError, match="base: a preset that is put on top of a configuration has none$"):
        preset_overrides(path)


def test_inheritance_overrides_single_keys(tmp_path):
    _write(
        tmp_path / "a.yaml",
        "rsdm: {ratio: 0.5, min_size: 640}\ndeblurring: {architecture: {n_blocks: 3, n: 1}}",
    )
    _write(
        tmp_path / "b.yaml",
        "base: a.yaml\nrsdm:\n  min_size: 320\nblurring:\ndeblurring: {architecture: {n: 2}}",
    )
    config = load_config(Config, _write(tmp_path / "c.yaml", "base: b.yaml\nruntime: {seed: 1}"))
    assert (config.rsdm.ratio, config.rsdm.min_size, config.runtime.seed) == (0.5, 320, 1)
    assert config.deblurring.architecture == {"n_blocks": 3, "n": 2}
    assert config.blurring == Config().blurring
    assert config.dbcgm == Config().dbcgm


def test_defaults_are_not_shared_between_configurations(empty):
    first = load_config(Config, empty)
    first.deblurring.architecture["changed"] = 1
    first.dataset.videos.append("changed")
    assert load_config(Config, empty).deblurring.architecture == {}
    assert load_config(Config, empty).dataset.videos == []


def test_relative_paths(tmp_path, monkeypatch):
    """In a file: to that file, also when another one is based on it. With --set: to where the user is."""
    _write(tmp_path / "lib" / "base.yaml", "dataset: {root: ../videos}\nrsdm: {weights: w.pth}")
    path = _write(tmp_path / "mine" / "own.yaml", "base: ../lib/base.yaml\noutput: out/here")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(Config, path, ["blurring.weights=../x.pth", "dbcgm.weights=/abs/y.pth"])
    assert config.dataset.root == tmp_path / "videos"
    assert config.rsdm.weights == tmp_path / "lib" / "w.pth"
    assert config.output == tmp_path / "mine" / "out" / "here"
    assert config.blurring.weights == tmp_path / "x.pth"
    assert config.dbcgm.weights == Path("/abs/y.pth")
    monkeypatch.chdir(tmp_path)
    assert load_config(Config, Path("mine/own.yaml")).dataset.root == tmp_path / "videos"


def test_home_folder_in_paths(empty, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(Config, empty, ["output=~/results"]).output == tmp_path / "results"


def test_file_of_an_own_network(tmp_path, empty, monkeypatch):
    """A path to a Python file follows the rule for paths; names of modules and networks stay words."""
    path = _write(tmp_path / "c.yaml", "deblurring: {model: nets/mine.py:Net}")
    assert load_config(Config, path).deblurring.model == f"{tmp_path / 'nets' / 'mine.py'}:Net"
    monkeypatch.chdir(_write(tmp_path / "user" / "x", "").parent)
    for model, expected in (
        ("../n.py:Net", f"{tmp_path / 'n.py'}:Net"),
        ("package.module:Net", "package.module:Net"),
        ("DSTNet", "DSTNet"),
    ):
        assert load_config(Config, empty, [f"deblurring.model={model}"]).deblurring.model == expected


def test_another_network_does_not_inherit_keywords(tmp_path):
    base = _write(
        tmp_path / "base.yaml",
        "deblurring: {model: MMP_RNN, architecture: {n: 1, m: 2}, interface: {low: 0}}",
    )
    for text, architecture, interface in (
        ("{epochs: 3}", {"n": 1, "m": 2}, {"low": 0}),
        ("{model: MMP_RNN}", {"n": 1, "m": 2}, {"low": 0}),
        ("{model: DSTNet}", {}, {}),
        ("{model: DSTNet, architecture: {k: 3}}", {"k": 3}, {}),
    ):
        path = _write(tmp_path / "own.yaml", f"base: base.yaml\ndeblurring: {text}")
        config = load_config(Config, path).deblurring
        assert (config.architecture, config.interface) == (architecture, interface), text
    config = load_config(Config, base, ["deblurring.model=DSTNet", "deblurring.architecture.k=3"])
    assert config.deblurring.architecture == {"k": 3}


def test_overrides_in_order(empty):
    overrides = [
        "rsdm.ratio=0.3",
        "rsdm.ratio=0.4",
        "deblurring.architecture.n_blocks=2",
        "deblurring.architecture={n: 5}",
        "dataset.videos=[a, b]",
        "output=x=y",
        "dataset.root=",
    ]
    config = load_config(Config, empty, overrides)
    assert config.rsdm.ratio == 0.4
    assert config.deblurring.architecture == {"n_blocks": 2, "n": 5}
    assert config.dataset.videos == ["a", "b"]
    assert config.output == Path.cwd() / "x=y"
    assert config.dataset.root is None


@pytest.mark.parametrize(
    "text, value", [("1e-4", 1e-4), ("'1e-4'", 1e-4), ("1.0e-4", 1e-4), ("1", 1.0), ("0", 0.0)]
)
def test_numbers_as_yaml_reads_them(tmp_path, text, value):
    """1e-4 without a dot is text to YAML 1.1."""
    config = load_config(Config, _write(tmp_path / "c.yaml", f"deblurring: {{min_learning_rate: {text}}}"))
    assert config.deblurring.min_learning_rate == value
    assert type(config.deblurring.min_learning_rate) is float


@pytest.mark.parametrize(
    "name, meant",
    [
        ("rsdm.batchsize", "rsdm.batch_size"),
        ("deblurring.learning_rte", "deblurring.learning_rate"),
        ("rdsm.ratio", "rsdm"),
        ("outptu", "output"),
        ("magnitude_offset", "dbcgm.magnitude_offset"),
        ("crop_sise", "deblurring.crop_size"),
        ("blurring.copies", "blurring.moved.copies"),
        ("blend_still", "blurring.moved.blend_still"),
        ("blurring.moved.copis", "blurring.moved.copies"),
    ],
)
def test_unknown_key_names_the_nearest(tmp_path, empty, name, meant):
    content = 1
    for key in reversed(name.split(".")):
        content = {key: content}
    path = _write(tmp_path / "c.yaml", yaml.safe_dump(content))
    # A wrong section is found before the key in it.
    wrong = name if name.split(".")[0] != "rdsm" else "rdsm"
    assert _refused(path) == f"{path}: unknown key `{wrong}`; did you mean `{meant}`?"
    assert _refused(empty, f"{name}=1") == f"--set: unknown key `{wrong}`; did you mean `{meant}`?"


def test_unknown_key_without_a_neighbour_lists_the_known(empty):
    assert "known keys: rsdm.estimator, rsdm.weights, rsdm.backbone" in _refused(empty, "rsdm.xyzzy=1")


def test_the_file_with_the_mistake_is_named(tmp_path):
    base = _write(tmp_path / "base.yaml", "rsdm: {rato: 0.1}")
    path = _write(tmp_path / "own.yaml", "base: base.yaml")
    assert _refused(path).startswith(f"{base}: unknown key `rsdm.rato`")


@pytest.mark.parametrize(
    "text, message",
    [
        ("rsdm: {ratio: many}", "rsdm.ratio: expected a number, found 'many'"),
        ("rsdm: {ratio: true}", "rsdm.ratio: expected a finite number, found True"),
        ("rsdm: {ratio: .nan}", "rsdm.ratio: expected a finite number, found nan"),
        ("rsdm: {ratio: .inf}", "rsdm.ratio: expected a finite number, found inf"),
        ("rsdm: {ratio: [1]}", "rsdm.ratio: expected a finite number, found [1]"),
        ("rsdm: {min_size: 9.5}", "rsdm.min_size: expected a whole number, found 9.5"),
        ("rsdm: {min_size: '9'}", "rsdm.min_size: expected a whole number, found '9'"),
        ("rsdm: {min_size: true}", "rsdm.min_size: expected a whole number, found True"),
        ("rsdm: {min_size: }", "rsdm.min_size: a value is missing"),
        ("rsdm: {weights: 5}", "rsdm.weights: expected a path, found 5"),
        ("rsdm: {weights: ''}", "rsdm.weights: expected a path, found ''"),
        ('output: "a\\0b"', "output: expected a path, found 'a\\x00b'"),
        ("output: ~no_such_user_here/x", "output: expected a path, found '~no_such_user_here/x'"),
        (
            "dataset: {videos: a}",
            "dataset.videos: expected a list of strings, numbers in quotes (\"012\"), found 'a'",
        ),
        ("dataset: {blur: 3}", "dataset.blur: expected a string, found 3"),
        ("deblurring: {architecture: 3}", "deblurring.architecture: expected `key: value` lines, found 3"),
        ("rsdm: 3", "rsdm is a section, expected `key: value` lines, found 3"),
        (
            "rsdm: {backbone: resnet34}",
            "rsdm.backbone: expected one of resnet50, resnet18, resnet10_slim, found 'resnet34'",
        ),
        ("rsdm: {ratio: 1.01}", "rsdm.ratio: expected at most 1, found 1.01"),
        ("rsdm: {ratio: -1e-3}", "rsdm.ratio: expected at least 0, found -0.001"),
        ("rsdm: {min_size: 7}", "rsdm.min_size: expected at least 8, found 7"),
        ("runtime: {seed: -1}", "runtime.seed: expected at least 0, found -1"),
    ],
)
def test_wrong_value(tmp_path, text, message):
    path = _write(tmp_path / "c.yaml", text)
    assert _refused(path) == f"{path}: {message}"


def test_number_beyond_all_floats(empty):
    assert "rsdm.ratio: expected a" in _refused(empty, "rsdm.ratio=1" + "0" * 400)


def test_numbers_as_names_are_refused(tmp_path):
    """YAML reads 010 as eight and 000 as zero: a video of another name would be taken, or none found."""
    for text in ("[010]", "[000, 001]", "[a, 7]", "[yes]"):
        path = _write(tmp_path / "c.yaml", f"dataset: {{videos: {text}}}")
        assert 'expected a list of strings, numbers in quotes ("012")' in _refused(path)
    path = _write(tmp_path / "c.yaml", "dataset: {videos: ['010', \"000\", b]}")
    assert load_config(Config, path).dataset.videos == ["010", "000", "b"]


def test_true_or_false(tmp_path):
    path = _write(tmp_path / "c.yaml", "diffusion: {align_condition: 1}")
    assert _refused(path, schema=TrainConfig) == (
        f"{path}: diffusion.align_condition: expected true or false, found 1"
    )
    path = _write(tmp_path / "c.yaml", "diffusion: {align_condition: false}")
    assert load_config(TrainConfig, path).diffusion.align_condition is False


def test_limits_are_allowed(empty):
    config = load_config(
        Config, empty, ["rsdm.ratio=1", "rsdm.min_size=8", "deblurring.crop_size=8", "runtime.seed=0"]
    )
    assert (config.rsdm.ratio, config.rsdm.min_size, config.runtime.seed) == (1.0, 8, 0)


def test_base_loop(tmp_path):
    first = _write(tmp_path / "a.yaml", "base: b.yaml")
    _write(tmp_path / "b.yaml", "base: sub/../a.yaml")
    (tmp_path / "sub").mkdir()
    assert _refused(first) == f"{first}: `base:` leads back to the file itself"
    own = _write(tmp_path / "own.yaml", "base: own.yaml")
    assert "leads back" in _refused(own)


def test_missing_file(tmp_path):
    assert _refused(tmp_path / "none.yaml") == (
        f"{tmp_path / 'none.yaml'}: config file cannot be read (No such file or directory)"
    )
    path = _write(tmp_path / "a.yaml", "base: none.yaml")
    assert _refused(path).startswith(f"{tmp_path / 'none.yaml'}: config file cannot be read")
    assert "cannot be read" in _refused(tmp_path)


@pytest.mark.parametrize("text", ["rsdm: [", "rsdm:\n\tratio: 1", "a: b: c", 'rsdm: "x', "? [a]: 1\n: {"])
def test_invalid_yaml(tmp_path, text):
    path = _write(tmp_path / "c.yaml", text)
    assert _refused(path).startswith(f"{path}: not valid YAML (")


def test_file_that_is_no_mapping(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00 binary")
    assert "not valid YAML" in _refused(path)
    assert "expected `key: value` lines, found list" in _refused(_write(path, "- a\n- b"))
    assert "base: expected the name of a YAML file or a list of them, found 3" in _refused(
        _write(path, "base: 3")
    )


@pytest.mark.parametrize(
    "override, message",
    [
        ("rsdm.ratio", "--set rsdm.ratio: expected section.key=value"),
        ("=1", "--set =1: expected section.key=value"),
        ("dataset.videos=[a", "--set dataset.videos=[a: the value is not valid YAML"),
        ("rsdm=1", "--set: rsdm is a section, expected `key: value` lines, found 1"),
        ("rsdm.ratio=2", "--set: rsdm.ratio: expected at most 1, found 2.0"),
        ("rsdm.weights.x=1", "--set: rsdm.weights: expected a path, found {'x': 1}"),
    ],
)
def test_malformed_override(empty, override, message):
    assert _refused(empty, override) == message


@pytest.mark.parametrize("override", ["rsdm.=1", "rsdm..ratio=1", ".=1", "base=other.yaml", "1=2"])
def test_override_of_a_key_that_does_not_exist(empty, override):
    assert _refused(empty, override).startswith("--set: unknown key `")


def test_require():
    assert require(0, "x", "hint") == 0
    with pytest.raises(UserError, match=r"^output is not set: folder .*--set output=\.\.\.\)$"):
        require(None, "output", "folder for results")


def test_as_dict_can_be_read_back(tmp_path):
    """config.yaml beside a result is what as_dict gives: loading it has to lead to the same configuration."""
    config = load_config(Config, CONFIGS / "demo.yaml")
    path = _write(tmp_path / "config.yaml", yaml.safe_dump(as_dict(config), sort_keys=False))
    assert load_config(Config, path) == config
    assert [item.name for item in dataclasses.fields(config)] == list(as_dict(config))


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            ["blurring.moved.denoise_target=true", "blurring.renoise=true"],
            "blurring.moved.denoise_target: true needs blurring.window moved, found center",
        ),
        (
            ["blurring.moved.denoise_target=true", "blurring.window=moved"],
            "blurring.moved.denoise_target: true needs blurring.renoise true, found false",
        ),
        (
            ["blurring.moved.copies=2", "blurring.window=all"],
            "blurring.moved.copies: 2 needs blurring.window moved, found all",
        ),
        (
            ["blurring.moved.blend_still=true"],
            "blurring.moved.blend_still: true needs blurring.window moved, found center",
        ),
        (
            ["dbcgm.magnitude=shutter"],
            "dbcgm.magnitude: shutter needs dbcgm.adapt_magnitude false, found true",
        ),
        (["blurring.window=moved"], "blurring.window: moved needs dbcgm.frames all, found selected"),
        (
            ["blurring.window=moved", "dbcgm.frames=all"],
            "blurring.window: moved needs dbcgm.motion true, found false",
        ),
        (
            ["blurring.window=moved", "dbcgm.frames=all", "dbcgm.motion=true"],
            "blurring.window: moved needs dbcgm.adapt_magnitude false, found true",
        ),
        (["blurring.window=all"], "blurring.window: all needs dbcgm.frames all, found selected"),
        (
            ["blurring.window=all", "dbcgm.frames=all", "rsdm.border=2"],
            "blurring.window: all needs rsdm.border of at least 3 with dbcgm.trajectory central, found 2",
        ),
        (
            ["blurring.window=all", "dbcgm.frames=all", "dbcgm.trajectory=five_frame"],
            "blurring.window: all needs rsdm.border of at least 4 with dbcgm.trajectory five_frame, found 3",
        ),
        (
            ["blurring.eta=0.5", "blurring.sampler=ddpm"],
            "blurring.eta: 0.5 needs blurring.sampler ddim, found ddpm",
        ),
        (
            ["dbcgm.flow=dis", "dbcgm.weights=/raft.pth"],
            "dbcgm.weights: dis takes no weights, got /raft.pth; remove the key or choose dbcgm.flow: raft_large",
        ),
        (
            ["deblurring.crop_size=288"],
            "deblurring.crop_size: 288 is larger than the smallest region (rsdm.min_size 256); lower it, or raise "
            "rsdm.min_size",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides, message):
    with pytest.raises(UserError) as caught:
        load_config(Config, CONFIGS / "default.yaml", overrides)
    assert str(caught.value) == message


def test_rules_that_are_kept_are_kept(empty):
    """At the limit of each rule."""
    window = ["blurring.window=all", "dbcgm.frames=all"]
    for overrides in (
        [*window, "rsdm.border=3"],
        [*window, "rsdm.border=4", "dbcgm.trajectory=five_frame"],
        ["rsdm.border=2", "dbcgm.trajectory=five_frame"],
        ["deblurring.crop_size=64", "rsdm.min_size=64"],
        ["blurring.eta=0.5"],
    ):
        load_config(Config, empty, overrides)


def test_more_sampling_steps_than_the_schedule_has(empty):
    overrides = ["diffusion.num_timesteps=20", "diffusion.sampling_steps=11"]
    assert _refused(empty, *overrides, schema=TrainConfig) == (
        "diffusion.sampling_steps: expected at most half of num_timesteps (10), found 11"
    )
