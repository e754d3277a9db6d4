"""Run the commands whose arguments are composed by Hydra: train and sweep."""

COMPOSED = ("train", "sweep")


def run_composed(command: str, arguments: list[str]) -> int:
    """Run train or sweep, and return the exit code."""
    if command == "train":
        from galaxy10.cli.train import main as train

        return train(arguments)
    from galaxy10.cli.sweep import main as sweep

    return sweep(arguments)
