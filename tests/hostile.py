"""What a hostile export may write into export.json: any text as a class name, anything as metadata, under the keys that clients act on too."""

from hypothesis import strategies as st

MARK = "/tmp/yolo-operator-escaped"
"""The file that an escape makes."""
SCRIPT = f"__import__('os').system('touch {MARK}')"
ESCAPES = [
    SCRIPT,
    f"'+{SCRIPT}+'",
    f'"+{SCRIPT}+"',
    f"\\'+{SCRIPT}+\\'",
    f"\\\\'+{SCRIPT}#",
    f"'}}, {SCRIPT}, {{'",
    f'"""+{SCRIPT}+"""',
    f"'''\n{SCRIPT}\n'''",
    f"\u2028{SCRIPT}\u2029",
    f"\n\r{SCRIPT}\x00",
    f"{{0: {SCRIPT}}}",
    f"[{SCRIPT}]",
    f"{{{SCRIPT}}}",
    f'" }} }} parameters {{ key: "metadata" value {{ string_value: "{SCRIPT}',
]
EVALUATED = ("imgsz", "names", "kpt_shape", "kpt_names", "args", "end2end")
"""Keys whose value the clients evaluate once more, if it is text."""
KEYS = (
    *EVALUATED,
    "stride",
    "batch",
    "channels",
    "task",
    "description",
    "author",
    "date",
    "version",
    "license",
    "docs",
    "head",
    "forward",
    "model",
    "__class__",
)
ODD = st.sampled_from("'\"\\\n\r\t{}()[]#%$`;:中文é\x00\u2028")
TEXT = st.sampled_from(ESCAPES) | st.text(alphabet=ODD | st.characters(exclude_categories=["Cs"]), max_size=30)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
KEYPOINTS = st.dictionaries(st.integers(min_value=0, max_value=20).map(str), st.lists(TEXT, max_size=4), max_size=3)
NAMES = st.lists(TEXT, min_size=1, max_size=5)
METADATA = st.dictionaries(st.sampled_from(KEYS) | TEXT, KEYPOINTS | PLAIN, max_size=8)
