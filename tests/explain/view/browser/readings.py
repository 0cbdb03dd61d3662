"""What the page says of a tensor, and what the document holds of it."""

import re

import numpy as np

from explain.view.batches import array

# Points at each heat map from a corner to the opposite one, and reads what it says; gives the single numbers as well.
READ = """async (points) => {
  const found = [];
  for (const at of document.querySelectorAll(".panel details")) at.open = true;
  await new Promise((done) => setTimeout(done));
  const turn = new MessageChannel();  // a turn of the event loop, without the pause of a timer
  const settled = () => new Promise((done) => { turn.port1.onmessage = done; turn.port2.postMessage(null); });
  const place = (at) => ({
    flow: at.closest("[data-flow]")?.dataset.flow ?? null,
    parameter: at.closest("[data-parameter]")?.dataset.parameter ?? null,
  });
  for (const field of document.querySelectorAll(".panel .field")) {
    const name = field.getAttribute("aria-label"), box = field.getBoundingClientRect(), said = [];
    for (const [x, y] of points) {
      const clientX = box.left + x * box.width, clientY = box.top + y * box.height;
      field.dispatchEvent(new PointerEvent("pointermove", {clientX, clientY, bubbles: true}));
      await settled();
      said.push(field.parentElement.querySelector("output").textContent);
    }
    found.push({...place(field), name, said});
  }
  for (const single of document.querySelectorAll(".panel [data-exact]")) {
    found.push({...place(single), name: single.getAttribute("aria-label"), said: [single.textContent]});
  }
  return found;
}"""
CORNERS = [[0.01, 0.01], [0.99, 0.01], [0.5, 0.5], [0.31, 0.77], [0.99, 0.99]]
BLOCK = re.compile("rows (\\d+)(?:\u2013(\\d+))?, columns (\\d+)(?:\u2013(\\d+))?: mean (\\S+), \\S+ to \\S+")
SIZE = re.compile(r", (\d+) rows, (\d+) columns\. Arrow keys read the values\.$")


def tensor_of(reading, node, graph, frame):
    """The document's tensor behind what was read in the panel of a node."""
    name, flow = reading["name"], reading["flow"]
    values, parameters = frame["nodes"][node], frame["parameters"]
    if flow is None and reading["parameter"] is not None:
        return parameters[reading["parameter"]][name.split(" of ")[0]]
    if flow is None or name.startswith("upstream gradient"):
        return values["value" if name.startswith("value of") else "gradient"]
    if flow in parameters:
        return (values["parts"].get(flow) or parameters[flow]["gradient"]) if name.startswith("downstream") else None
    edge = frame["edges"][flow]
    source = next(each["source"] for each in graph["edges"] if each["id"] == flow)
    if name.startswith("downstream"):
        return frame["nodes"][source]["gradient"] if edge["downstream"] == "gradient" else edge["downstream"]
    if name.startswith("derivative of each"):
        return edge["diagonal"]
    if name.startswith("Jacobian of"):
        return edge["diagonal"] if edge["local"] is None else edge["local"]
    return parameters[name.split(", of which")[0]]["value"]


def equal(said, number, dtype):
    """Whether the text reads back as that very number."""
    if dtype == "int64":
        return said == str(int(number))
    return np.array_equal(np.dtype(dtype).type(said), number, equal_nan=True)


def check(reading, tensor):
    """Every number that was read is the document's. Returns how many were compared."""
    size = SIZE.search(reading["name"])
    if size is None:
        assert equal(reading["said"][0], array(tensor).reshape(-1)[0], tensor["dtype"]), reading
        return 1
    if "pooled" in tensor:
        return _check_blocks(reading["said"], tensor)
    numbers, cols = array(tensor), int(size[2])
    assert int(size[1]) * cols == numbers.size
    for said in reading["said"]:
        where, _, text = said.rpartition(": ")
        assert equal(text, number_at(numbers, cols, where), tensor["dtype"]), (reading["name"], said)
    return len(reading["said"])


def number_at(numbers, cols, where):
    """The number at a place as the page names it. cols: of the heat map, which may be laid out in its own way."""
    if found := re.fullmatch(r"row (\d+), column (\d+)", where):
        return numbers.reshape(-1)[int(found[1]) * cols + int(found[2])]
    if found := re.fullmatch(r"entry (\d+)", where):
        return numbers.reshape(-1)[int(found[1])]
    return numbers[tuple(int(i) for i in re.fullmatch(r"\[(.+)\]", where)[1].split(", "))]


def block(said):
    """(its first row, its last, its first column, its last, the text of its mean) of what was said of a block."""
    *ends, mean = BLOCK.fullmatch(said).groups()
    top, bottom, left, right = (int(end) if end else None for end in ends)
    return top, top if bottom is None else bottom, left, left if right is None else right, mean


def _check_blocks(said, tensor):
    pooled = tensor["pooled"]
    shape = [pooled["rows"], pooled["cols"]]
    means = array({"data": pooled["mean"], "dtype": "float32", "shape": shape})
    matrix = int(np.prod(tensor["shape"][:-1])), tensor["shape"][-1]
    tall, wide = (-(-numbers // blocks) for numbers, blocks in zip(matrix, shape, strict=True))
    for each in said:
        top, _, left, _, mean = block(each)
        assert equal(mean, means[top // tall, left // wide], "float32"), each
    return len(said)
