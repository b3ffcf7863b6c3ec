from trayray.core.bundles import Bundles, without_groups
from trayray.model.ids import PlacementGroupID
from trayray.model.resources import ResourceSet


def test_a_nodes_own_resources_are_told_from_what_groups_reserve():
    own = {"CPU": 4.0, "node:10.0.0.1": 1.0, "my_group_of_machines": 1.0, "disk_group_0_cafe": 2.0}
    bundles = Bundles()
    wanted = [{"CPU": 1.0}, {"CPU": 2.0, "a_group_b": 1.0}]
    bundles.reserve(
        PlacementGroupID.from_random().binary(), {index: ResourceSet.of(each) for index, each in enumerate(wanted)}
    )

    shown = {**own, **bundles.as_resources(available=False)}

    assert len(shown) == len(own) + 8
    assert without_groups(shown) == own
