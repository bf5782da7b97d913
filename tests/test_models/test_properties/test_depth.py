"""Depth: its branch converts raw outputs to meters and back."""
import torch

from mmdet_centernet.models.properties import Depth, Peaks


def test_branch_converts_outputs_to_meters_and_back():
    branch = Depth().branches['depth']
    meters = torch.tensor([0.5, 1.0, 12.5, 80.0])
    torch.testing.assert_close(branch.to_value(branch.to_output(meters)), meters)
    torch.testing.assert_close(1 / branch.to_output(meters).sigmoid() - 1, meters)


def test_decode_reads_meters_at_the_peaks():
    meters = torch.arange(1.0, 13).view(1, 1, 3, 4)
    cells = torch.tensor([[5, 0, 11]])
    peaks = Peaks(torch.ones(1, 3), torch.zeros(1, 3), cells, torch.zeros(1, 3, 2), 4, 3, {})
    found = Depth().decode(dict(depth=-meters.log()), peaks, {})
    torch.testing.assert_close(found['depth'], torch.tensor([[6.0, 1, 12]]))
