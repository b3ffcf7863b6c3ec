"""Anti-pattern: `fork` in a program that uses trayray.

Only the thread that calls `fork` lives on in the child. The threads that talk to the cluster are not among them: the
child has the references, and nobody who brings their values; it is told so. Let tasks do the work, or start processes
with "spawn", which begin with nothing.
"""

import multiprocessing

import trayray as ray


@ray.remote
def square(x):
    return x * x


def ask(answers):
    """In a forked child: what comes of a call."""
    try:
        answer = ray.get(square.remote(3))
    except ray.exceptions.RayError as error:
        answer = type(error).__name__
    answers.put(answer)


def plain_square(answers):
    """In a spawned child: work without trayray, whose result goes to the parent."""
    answers.put((ray.is_initialized(), 3 * 3))


def in_child(method, function):
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    child = context.Process(target=function, args=(answers,))
    child.start()
    answer = answers.get()
    child.join()
    return answer


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    in_task = ray.get(square.remote(3))
    forked = in_child("fork", ask)
    initialized, spawned = in_child("spawn", plain_square)
    again = ray.get(square.remote(4))
    ray.shutdown()

    print("                                   3 * 3 is")
    print(f"a call by a forked child           {forked}")
    print(f"the spawned child's own work       {spawned}")
    print(f"a task                             {in_task}")
    assert forked != 9
    assert (spawned, in_task, again) == (9, 9, 16)
    assert not initialized


if __name__ == "__main__":
    main()
