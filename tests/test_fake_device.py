"""The rules of the fake device: without them, the tests that use it would prove nothing."""

import threading

import pytest
import torch
from fake_device import FakeDevice

HOST = torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize(
    "mixture",
    [
        lambda rows: rows + HOST,
        lambda rows: rows @ HOST.T,
        lambda rows: torch.cat((rows, HOST)),
        lambda rows: torch.where(HOST > 2, rows, rows),
        lambda rows: torch.zeros(2, 3).add_(rows),
        lambda rows: torch.zeros(()).add_(rows.sum()),
        lambda rows: torch.zeros(2, 3).index_copy_(0, torch.tensor([0, 1]), rows),
        lambda rows: HOST[rows[0].long() > 5],
        lambda rows: torch.rand(2, generator=torch.Generator(), device=rows.device),
        lambda rows: rows.uniform_(generator=torch.Generator()),
        lambda rows: rows.numpy(),
        lambda rows: torch.nn.Linear(3, 1)(rows),
    ],
    ids=[
        *("sum", "product", "cat", "where", "sum_", "scalar_"),
        *("index_copy_", "mask", "rand", "uniform_", "numpy", "module"),
    ],
)
def test_tensors_of_the_device_and_of_the_cpu_do_not_mix(kind, mixture):
    with FakeDevice(kind), pytest.raises((RuntimeError, TypeError)):
        mixture(HOST.to(kind))


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_what_a_real_device_allows_gives_the_same_values(kind):
    with FakeDevice(kind) as fake:
        rows = HOST.to(kind)
        assert rows.device == fake.device == torch.zeros(1, device=kind).device == rows.new_zeros(1).device
        assert torch.equal((rows * torch.tensor(2.0)).cpu(), HOST * 2)
        assert torch.equal(rows[torch.tensor([1, 0])].cpu(), HOST[[1, 0]])
        assert torch.equal(rows[[1, 0]].cpu(), HOST[[1, 0]])
        assert torch.equal(rows[rows > 2].cpu(), HOST[HOST > 2])
        assert torch.equal(torch.zeros(2, 3).copy_(rows), HOST)
        assert rows.sum().item() == 15
        assert rows.tolist() == HOST.tolist()
        assert fake.transfers == {"to device": 1, "to host": 7}


def test_a_backward_pass_and_a_step_on_the_device():
    def weight_after(device):
        layer = torch.nn.Linear(3, 1)
        with torch.no_grad():
            layer.weight.copy_(torch.ones(1, 3))
        layer.to(device)
        optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
        layer(HOST.to(device)).square().sum().backward()
        assert layer.weight.grad.device.type == device
        optimizer.step()
        return layer.weight.detach().cpu()

    expected = weight_after("cpu")
    with FakeDevice():
        assert torch.equal(weight_after("cuda"), expected)


def test_only_mps_lacks_float64():
    with FakeDevice("cuda"):
        assert HOST.to("cuda").double().dtype == torch.float64
    with FakeDevice("mps"), pytest.raises(RuntimeError, match="float64"):
        HOST.to("mps").double()
    with FakeDevice("mps"), pytest.raises(RuntimeError, match="float64"):
        torch.zeros(2, dtype=torch.float64, device="mps")


def test_another_thread_can_fetch_a_result():
    values = []
    with FakeDevice():
        rows = HOST.to("cuda")
        thread = threading.Thread(target=lambda: values.append(rows.cpu()))
        thread.start()
        thread.join()
    assert torch.equal(values[0], HOST)
