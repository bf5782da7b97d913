"""Habits of language that docstrings, comments, messages and pages must not have."""
import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ('README.md', 'docs/*.md', 'mmdet_centernet/**/*.py', 'tools/**/*.py',
                    'configs/**/*.py', 'setup.py')
    for path in ROOT.glob(pattern) if '.mim' not in path.parts)

BRITISH = re.compile(
    r'(?i)cent(?:re(?!net)|red\b(?<!centered))|colour|neighbour|behaviour|\bmetres?\b|\bgrey|'
    r'labelled|learnt|(?:normal|optim|recogn|initial|quant|synchron|organ|visual)is(?:e|ing|ation)')
# What is wrong -> where it shows in comments, strings and pages.
HABITS = {
    'British spelling': BRITISH,
    '"is no X" for "is not a X"': re.compile(r'(?<![Tt]here) is no (?!longer\b|more than\b)'),
    '"as of" for "see"': re.compile(r'\bas of :'),
    '"see that" for "check that"': re.compile(r'\b[Ss]ee (?:that|to it|whether)\b'),
    '"joint" for "keypoint"': re.compile(r'(?i)\bjoints\b|\bjoint\b(?! loss)'),
    '"mirror" for "flip"': re.compile(r'(?i)\bmirror(?:ed|s)?\b'),
    '"from above" for "bird\'s-eye view"': re.compile(r'\bfrom above\b'),
    '"box in space" for "3D box"': re.compile(r'\bbox(?:es)? in space\b'),
    '"put out" for "output"': re.compile(r'\bput(?:s|ting)? out\b'),
    '"heat map" for "heatmap"': re.compile(r'(?i)\bheat[ -]maps?\b'),
}
SUMMARY = re.compile(r'(?:What|Whether|Where|How)\b')

# Files that still have these habits. A file leaves the list with its last one.
NOT_SWEPT = frozenset([
    'README.md',
    'docs/inference.md',
    'docs/kitti.md',
    'docs/model_zoo.md',
    'docs/mono3d.md',
    'docs/own_data.md',
    'docs/performance.md',
    'docs/pose.md',
    'docs/recipes.md',
    'docs/training.md',
    'docs/weights.md',
])


def prose_of(source):
    """Return (line, text) of the comments and strings of a Python source."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, 'FSTRING_MIDDLE', None)}
    return [(token.start[0] + offset, line)
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type in kinds for offset, line in enumerate(token.string.split('\n'))]


def names_of(source):
    """Return (line, name) of the identifiers of a Python source."""
    return [(token.start[0], token.string)
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.NAME]


def summaries_of(source):
    """Return (line, first line) of the docstrings of a Python source."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(
        node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
    return [(node.body[0].lineno, ast.get_docstring(node)) for node in nodes
            if node.body and ast.get_docstring(node)]


def faults_of(name, text):
    """Return every habit in a file, with its line."""
    is_python = name.endswith('.py')
    prose = prose_of(text) if is_python else list(enumerate(text.split('\n'), 1))
    faults = {(line, habit) for line, part in prose for habit, pattern in HABITS.items()
              if pattern.search(part)}
    if is_python:
        faults |= {(line, 'British spelling') for line, each in names_of(text)
                   if BRITISH.search(each)}
        faults |= {(line, 'a summary that is not a verb or noun phrase')
                   for line, summary in summaries_of(text) if SUMMARY.match(summary)}
    return [f'{name}:{line}: {habit}' for line, habit in sorted(faults)]


@pytest.mark.parametrize('text, habits', [
    ('"""Whether it is."""\n', ['1: a summary that is not a verb or noun phrase']),
    ('def f():\n    """How it is."""\n', ['2: a summary that is not a verb or noun phrase']),
    ('class C:\n    """What it\n    is."""\n', ['2: a summary that is not a verb or noun phrase']),
    ('# Where it is.\n"""Whatever."""\n', []),
    ('x = 1  # the centre\n', ['1: British spelling']),
    ('def colour_note():\n    pass\n', ['1: British spelling']),
    ('"""\n\nThe centered, centrenet, optimizer, tokenizer."""\n', []),
    ("raise E('a\\n'\n        f'{x} is no config')\n", ['2: "is no X" for "is not a X"']),
    ('# There is no file; there is no other, and it is no longer here.\n', []),
    ('"""Args.\n\n    tuple: as of :func:`f`.\n"""\n', ['3: "as of" for "see"']),
    ('# See that all fits.\n', ['1: "see that" for "check that"']),
    ('# Each joint, jointly; a joint loss.\n', ['1: "joint" for "keypoint"']),
    ('joint_losses = joint = None\n', []),
    ('# As a mirror image, and seen from above.\n',
     ['1: "from above" for "bird\'s-eye view"', '1: "mirror" for "flip"']),
    ('# A box in space puts out a heat map.\n',
     ['1: "box in space" for "3D box"', '1: "heat map" for "heatmap"',
      '1: "put out" for "output"']),
])
def test_faults_of_finds_habits(text, habits):
    assert faults_of('x.py', text) == [f'x.py:{habit}' for habit in habits]


def test_swept_files_have_none_of_the_habits():
    faults = [fault for name in SOURCES if name not in NOT_SWEPT
              for fault in faults_of(name, (ROOT / name).read_text())]
    assert not faults, '\n'.join(faults)


def test_files_that_are_not_swept_have_such_habits():
    assert set(SOURCES) >= NOT_SWEPT
    swept = [name for name in sorted(NOT_SWEPT) if not faults_of(name, (ROOT / name).read_text())]
    assert not swept, f'take these off NOT_SWEPT, they have no such habit: {swept}'
