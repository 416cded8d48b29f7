"""Does prediction add anything? PLP beside SGD, and beside SGD with the learning rate that PLP amounts to."""

import plp

train, test = plp.datasets.synthetic(600, 200)
study = plp.compare(
    ["resnet18"],
    methods=["sgd", "sgd*7/6", "plp"],
    train=train,
    test=test,
    epochs=2,
    repeats=2,
    recipe=plp.QUICK,
    width=0.125,
    path="study",  # a folder, in which each run has one; started again, the study goes on from there
)
print(study)
study.plot("study.png")
study.report("report.html")
