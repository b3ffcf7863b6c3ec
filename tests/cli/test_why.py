"""`trayray why`: clusters found, questions of all kinds, and what is said when nobody knows."""

import re

from tests.cli.conftest import Place

PROGRAM = """
import trayray as ray
ray.init("auto", log_to_driver=False)

@ray.remote(num_cpus=64)
def greedy():
    pass

@ray.remote
def use(value):
    pass

@ray.remote(num_cpus=0)
class Clerk:
    def ready(self):
        return True

clerk = Clerk.options(name="bob", lifetime="detached").remote()
waiting = use.remote(greedy.remote())
done = clerk.ready.remote()
ray.wait([done])
print(repr(waiting), waiting.task_id().hex(), done.hex(), clerk._actor_id.hex(), flush=True)
input()
"""


def test_questions_about_a_running_program(place: Place, address: str):
    with place.popen("-c", PROGRAM) as driver:
        assert driver.stdout
        waiting, task, done, actor = driver.stdout.readline().split()
        answers = {what: place.trayray("why", what) for what in (waiting, task, done, actor, "bob", "eve")}
        here = place.trayray("why", waiting, f"--address={address}")
        driver.communicate("\n")

    assert all(answer.returncode == 0 and answer.stderr == "" for answer in answers.values())
    text = answers[waiting].stdout
    assert re.fullmatch(
        re.escape(waiting) + r" is made by use\(\).\n"
        r"use\(\) waits for its argument ObjectRef\(\w+\), the result of greedy\(\).\n"
        r'greedy\(\) is queued. It asks for {"CPU": 64}, which no node of the cluster has; the nearest, 127.0.0.1, has '
        r'{"CPU": 2}: {"CPU": 62} too little.\n',
        text,
    )
    assert here.stdout == text
    assert answers[task].stdout == text.partition("\n")[2]
    assert answers[done].stdout == f"ObjectRef({done}) has its value.\n"
    assert answers[actor].stdout == answers["bob"].stdout
    assert answers["bob"].stdout.startswith(f"The actor Clerk ({actor}) runs in worker pid ")
    assert answers["eve"].stdout == "There is no living actor of the name 'eve', and it is no id.\n"


def test_the_program_has_ended(place: Place, address: str):
    with place.popen("-c", PROGRAM) as driver:
        assert driver.stdout
        waiting = driver.stdout.readline().split()[0]
        driver.communicate("\n")

    assert place.trayray("why", waiting).stdout.startswith(f"No process of the cluster knows {waiting}: ")


def test_no_cluster(place: Place):
    done = place.trayray("why", "bob")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: no cluster of this user runs on this machine")
    assert place.trayray("why", "bob", "--address=127.0.0.1:1").returncode == 1
