"""Train configs on one data set under equal conditions and compare their accuracy.

``python tools/analysis_tools/compare_recipes.py CONFIG ... --data voc:FOLDER --steps 300``
"""
import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)
from mmdet_centernet import cli
from mmdet_centernet.analysis.recipe_comparison import (
    WARM_UP_STEPS,
    check,
    default_limit,
    figures_of,
    fingerprint,
    fit_to_data,
    fit_to_steps,
    markdown,
    read_data,
    summarize,
    train,
)
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.engine.hooks.progress_line_hook import duration
from mmdet_centernet.engine.runner import use_cpu
from mmdet_centernet.errors import UserError

# Steps of the trial that every config passes before any is trained, and of one that is timed.
TRIAL_STEPS = 2
TIMED_STEPS = WARM_UP_STEPS + 12
RESULTS = 'results.json'
TABLE = 'results.md'


def positive(kind):
    """Return a parser of positive numbers."""
    def parse(text):
        number = kind(text)
        if not 0 < number < float('inf'):
            raise argparse.ArgumentTypeError(f'{text} is not positive')
        return number
    parse.__name__ = kind.__name__
    return parse


def parse_args(argv=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Train configs on one data set, one after the other, with several seeds, for '
        'an equal number of steps or an equal time, and compare their accuracy and speed. The '
        "configs' data, number of classes and detections per image are set from the data set; "
        'model, augmentation, batch size, optimizer and the shape of the schedule are theirs.')
    parser.add_argument('configs', nargs='+', metavar='CONFIG',
                        help='config files; times of a step are relative to the first')
    parser.add_argument('--data', required=True, metavar='DATA',
                        help='voc:FOLDER (Pascal VOC), or coco:TRAIN.json,VAL.json,IMAGES')
    parser.add_argument('--train-split', metavar='NAME',
                        help='of voc: image list in ImageSets/Main (default: train)')
    parser.add_argument('--val-split', metavar='NAME',
                        help='of voc: image list to evaluate on (default: val)')
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument('--steps', type=positive(int), help='steps of each training')
    length.add_argument('--minutes', type=positive(float),
                        help='time of each training: as many steps as fit, by the time of a step '
                        'in a short trial')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], metavar='SEED')
    parser.add_argument('--max-per-img', type=positive(int), metavar='N',
                        help='detections per image (default: 100, or twice the most objects in a '
                        'training image)')
    parser.add_argument('--work-dir', default='work_dirs/compare_recipes',
                        help='folder for results, logs and checkpoints (default: %(default)s)')
    parser.add_argument('--resume', action='store_true',
                        help='continue an interrupted comparison in --work-dir')
    cli.add_config_options(parser)
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--debug', action='store_true',
                        help='show tracebacks and the whole log on the console')
    return parser.parse_args(argv)


def names_of(paths):
    """Return a name for each config: the file's, or the whole path if two have the same."""
    stems = [Path(path).stem for path in paths]
    names = [stem if stems.count(stem) == 1 else str(Path(path).with_suffix(''))
             for stem, path in zip(stems, paths)]
    if len(set(names)) < len(names):
        raise UserError('a config is given twice: give each once, and several --seeds')
    return names


def write(file, text):
    """Replace a file at once, so that an interruption leaves the old or the new one."""
    new = file.with_suffix('.new')
    new.write_text(text, encoding='utf-8')
    os.replace(new, file)


class Results:
    """The runs so far, in the work directory's JSON and Markdown files.

    Args:
        folder (Path): The work directory.
        settings (dict): What all runs have in common; a comparison can only be continued with
            the same.
        names (list[str]): Of the configs.
        resume (bool): Continue with the runs that are there.
    """

    def __init__(self, folder, settings, names, resume):
        self.folder, self.settings, self.names = folder, settings, names
        self.runs = []
        file = folder / RESULTS
        if not file.exists():
            return
        if not resume:
            raise UserError(f'{file} has the results of an earlier comparison: continue it with '
                            '--resume, or choose another --work-dir')
        try:
            earlier = json.loads(file.read_text(encoding='utf-8'))
            before, runs = earlier['settings'], earlier['runs']
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f'{file} is not a file of results: choose another --work-dir') from None
        # As JSON holds them.
        now = json.loads(json.dumps(settings))
        changed = [key for key in now if now[key] != before.get(key)]
        if changed:
            key = changed[0]
            raise UserError(f'{file} is of a comparison with {key} {before.get(key)}, not '
                            f'{now[key]}: choose another --work-dir')
        # What failed is tried again.
        self.runs = [run for run in runs if 'error' not in run]

    def done(self, name, seed, steps, content):
        """Return True if a run is finished.

        Raises:
            UserError: If the config was another then.
        """
        for run in self.runs:
            if (run['config'], run['seed']) == (name, seed):
                if run['content'] != content:
                    raise UserError(f'config {name} has changed since it was trained for '
                                    f'{self.folder / RESULTS}: choose another --work-dir')
                return True
        return False

    def add(self, run):
        """Add a run and write the files."""
        self.runs.append(run)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Configs of an earlier command that this one does not name keep their rows.
        names = list(dict.fromkeys([*self.names, *(each['config'] for each in self.runs)]))
        rows = summarize(self.runs, names)
        write(self.folder / RESULTS, json.dumps(
            dict(settings=self.settings, summary=rows, runs=self.runs), indent=1) + '\n')
        write(self.folder / TABLE, markdown(rows))

    def table(self):
        """Return the Markdown table."""
        names = list(dict.fromkeys([*self.names, *(each['config'] for each in self.runs)]))
        return markdown(summarize(self.runs, names))


def seconds_left(waiting, runs, trial):
    """Estimate the time that the waiting runs take.

    Args:
        waiting (list[tuple[str, int, int]]): Name, seed and steps of each.
        runs (list[dict]): The finished ones.
        trial (dict[str, float]): Seconds of a step in the trial.
    """
    total = 0.0
    for name, _, steps in waiting:
        mine = [run['total_seconds'] for run in runs
                if run['config'] == name and 'error' not in run]
        total += sum(mine) / len(mine) if mine else steps * trial[name]
    return total


def prepare(args, names, data, limit):
    """Load the configs, fit them to the data, and let each pass a short trial.

    Returns:
        tuple[dict, dict, dict]: By name: the config, its steps, the seconds of a step.
    """
    configs, steps, trial = {}, {}, {}
    folder = Path(args.work_dir)
    for name, path in zip(names, args.configs):
        config = load_config(path, args.cfg_options)
        try:
            for key in ('train_cfg', 'optim_wrapper'):
                if not config.get(key):
                    raise UserError(f'it has no {key}')
            fit_to_data(config, data, limit)
            fit_to_steps(config, args.steps or TIMED_STEPS)
        except UserError as error:
            raise UserError(f'config {path} cannot be compared: {error}') from error
        configs[name] = config
    for number, (name, path) in enumerate(zip(names, args.configs)):
        print(f'trial {number + 1}/{len(names)}: {name}', flush=True)
        try:
            trial[name] = check(
                configs[name], folder / 'trials' / str(number),
                TIMED_STEPS if args.minutes else TRIAL_STEPS, args.debug)
        except UserError as error:
            raise UserError(f'config {path} does not train on {data.name}: {error}') from error
        steps[name] = args.steps or max(1, round(args.minutes * 60 / trial[name]))
        if args.minutes:
            configs[name] = load_config(path, args.cfg_options)
            fit_to_data(configs[name], data, limit)
            try:
                fit_to_steps(configs[name], steps[name])
            except UserError as error:
                raise UserError(f'config {path} cannot be compared: {error}') from error
    return configs, steps, trial


def main(argv=None):
    """Compare as the command line says."""
    args = parse_args(argv)
    if args.device == 'cpu':
        use_cpu()
    if len(set(args.seeds)) < len(args.seeds):
        raise UserError('--seeds has a seed twice: give different ones')
    names = names_of(args.configs)
    data = read_data(args.data, args.train_split, args.val_split)
    limit = args.max_per_img or default_limit(data)
    folder = Path(args.work_dir)
    results = Results(folder, dict(
        data=args.data, train_split=args.train_split, val_split=args.val_split,
        classes=data.classes, max_per_img=limit, steps=args.steps, minutes=args.minutes,
        cfg_options=args.cfg_options), names, args.resume)
    configs, steps, trial = prepare(args, names, data, limit)
    content = {name: fingerprint(config) for name, config in configs.items()}
    # Seeds outside: after the first round every config has a result.
    waiting = [(name, seed, steps[name]) for seed in args.seeds for name in names
               if not results.done(name, seed, steps[name], content[name])]
    total, failed = len(waiting), []
    while waiting:
        name, seed, count = waiting[0]
        left = seconds_left(waiting, results.runs, trial)
        print(f'run {total - len(waiting) + 1}/{total}: {name}, seed {seed}, {count} steps; about '
              f'{duration(left)} left', flush=True)
        run = dict(config=name, seed=seed, steps=count, content=content[name],
                   images=count * configs[name].train_dataloader.batch_size)
        began = time.perf_counter()
        try:
            recorder = train(configs[name], seed,
                             folder / name.replace(os.sep, '_') / f'seed_{seed}', args.debug)
        except KeyboardInterrupt as stop:
            arguments = [each for each in sys.argv if each != '--resume']
            raise KeyboardInterrupt(
                f'stopped; go on with: {shlex.join(["python", *arguments, "--resume"])}') from stop
        except UserError as error:
            # The others may still succeed.
            run['error'] = str(error)
            failed.append(f'{name}, seed {seed}: {error}')
            print(f'failed: {error}', flush=True)
        else:
            run.update(
                train_seconds=round(recorder.train_seconds, 2),
                step_seconds=round(recorder.step_seconds, 4),
                total_seconds=round(time.perf_counter() - began, 2),
                **figures_of(recorder.metrics, data.classes))
        results.add(run)
        waiting.pop(0)
    print(results.table(), end='')
    print(f'written to {folder / TABLE} and {folder / RESULTS}')
    if failed:
        raise UserError(f'{len(failed)} of {total} runs failed ({failed[0]}): try them again with '
                        '--resume')


if __name__ == '__main__':
    sys.exit(cli.run(main))
