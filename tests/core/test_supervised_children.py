"""What is said of children can be sent to others."""

import pytest

from trayray.core.supervised_children import Exit, ExitKind
from trayray.model.supervision import ChildPolicy


def test_ids_and_reasons_can_be_sent() -> None:
    assert Exit(ExitKind.ABNORMAL, "no text: \udcff").reason == "no text: \\udcff"
    assert len(Exit(ExitKind.ABNORMAL, "x" * 10_000).reason) == 2000
    with pytest.raises(ValueError, match="lone surrogates"):
        ChildPolicy("\udcff")
