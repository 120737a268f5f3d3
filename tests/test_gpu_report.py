"""What `make gpu-report` counts in the text of a compiled program."""

import importlib.util
from pathlib import Path

_path = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu_report.py"
_spec = importlib.util.spec_from_file_location("gpu_report", _path)
gpu = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gpu)

TEXT = """
HloModule m

%fused (p0: f32[100,4], p1: s32[]) -> f32[4] {
  %p0 = f32[100,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f32[1,4]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,4}
  ROOT %out = f32[4]{0} bitcast(%row)
}

%body (s: (s32[], f32[100,4], f32[4])) -> (s32[], f32[100,4], f32[4]) {
  %s = (s32[], f32[100,4]{1,0}, f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[100,4]{1,0} get-tuple-element(%s), index=1
  %new = f32[4]{0} fusion(%x, %i), kind=kLoop, calls=%fused
  ROOT %t = (s32[], f32[100,4]{1,0}, f32[4]{0}) tuple(%i, %x, %new)
}

%test (s: (s32[], f32[100,4], f32[4])) -> pred[] {
  %s = (s32[], f32[100,4]{1,0}, f32[4]{0}) parameter(0)
  ROOT %go = pred[] custom-call(%s), custom_call_target="c"
}

%cheap (a: f32[4]) -> f32[4] {
  ROOT %a = f32[4]{0} parameter(0)
}

%dear (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  ROOT %sorted = f32[4]{0} sort(%a), dimensions={0}
}

ENTRY %main (x: f32[100,4]) -> f32[4] {
  %x = f32[100,4]{1,0} parameter(0)
  %n = s32[] constant(0)
  %begin = (s32[], f32[100,4]{1,0}, f32[4]{0}) tuple(%n, %x, %n)
  %loop = (s32[], f32[100,4]{1,0}, f32[4]{0}) while(%begin), condition=%test, body=%body, backend_config={"known_trip_count":{"n":"50"}}
  %last = f32[4]{0} get-tuple-element(%loop), index=2
  ROOT %end = f32[4]{0} conditional(%n, %last, %last), branch_computations={%cheap, %dear}
}
"""


def test_trips_multiply_and_a_slice_moves_its_own_bytes():
    slices, index, out = 4 * 4, 4, 4 * 4
    assert gpu.count(TEXT) == gpu.Count(50, 50 * (slices + index + out), 0)


def test_the_dearest_branch_is_counted_on_request():
    assert gpu.count(TEXT, max).launches == 51
    assert gpu.count(TEXT, max).moved - gpu.count(TEXT).moved == 2 * 4 * 4


def test_a_loop_of_unknown_trips_counts_once_with_its_test():
    text = TEXT.replace(', backend_config={"known_trip_count":{"n":"50"}}', "")
    found = gpu.count(text)
    assert (found.launches, found.unknown) == (2, 1)


def test_sizes_of_types():
    assert gpu.nbytes("(f32[2,3]{1,0}, pred[7]{0}, s32[])") == 24 + 7 + 4
