# %% [markdown]
# # 0 · Start here
#
# **Can twenty lines of code learn to read? They can, and you can read every line under them too.**
#
# This book accompanies an introduction to convolutional networks. It takes nothing on trust: every
# number and every picture is computed while you read, by a small library called convlib. The
# library looks like Keras from the outside. Inside, each operation is written twice: once in plain
# NumPy, to be read, and once compiled, to be fast. Tests hold the two together.
#
# Reading: ten minutes. Nothing is downloaded.
#
# ## How to run it
#
# You are looking at a notebook: text, code, and what the code printed. To run it yourself, type in
# the folder of the book
#
#     python3 book.py read
#
# and JupyterLab opens. Put the cursor in a cell and press Shift+Enter to run it. *Run All Cells* in
# the menu *Run* runs the chapter. Change anything you like; the original is in version control.
#
# ## Does it work here?

# %%
import time

import numpy as np

import convlib
from convlib.notebook import explore, figures, show
from convlib.notebook.checks import start_here as checks

checks.check_set_up()

# %% [markdown]
# And this is what it runs on. More threads and wider vectors make it faster, and change no result
# beyond the last digits. A GPU is never needed. Compiled code is kept for the next time; if the
# last line says that it is not, every chapter takes some seconds longer to begin.

# %% tags=["nbval-ignore-output", "volatile-output"]
print(checks.describe_set_up())

# %% [markdown]
# ## The smallest example
#
# To a program a handwritten digit is a table of numbers, one for each point of the paper: more ink,
# larger number. Here is one that a person wrote, and its table, as it was published.

# %%
from convlib.datasets import digits

small_images, small_labels = digits.load_original()
print("somebody wrote a", small_labels[5])
for row in small_images[5]:
    print(" ".join(f"{value:2d}" if value else " ·" for value in row))

# %% [markdown]
# Nobody can say by which rule such tables are fives. But one can show a program many examples and
# let it find its own rule. For that we need many digits.
#
# ## Drawn digits and real ones
#
# The examples in most chapters are drawn by the library: pen strokes, bent and slanted at random.
# So there are as many as we want, at once and offline. What is learned from them is then tried on
# real handwriting, which thirteen people wrote in the 1990s for Ethem Alpaydin and Cevdet Kaynak.

# %%
from convlib.datasets import strokes

(drawn_images, drawn_labels), _ = strokes.load_data()
_, (real_images, real_labels) = digits.load_data()


def sheet(images, labels):
    """Return five examples of each digit, one row for each example."""
    return np.concatenate(
        [[images[labels == digit][k] for digit in range(10)] for k in range(5)]
    )


show(
    figures.side_by_side(
        {
            "drawn by the library": sheet(drawn_images, drawn_labels),
            "written by people": sheet(real_images, real_labels),
        }
    ),
    "Drawn digits on the left are sharp; the real ones on the right were scanned at 8×8 points and "
    "enlarged, so they are blurred.",
)

# %% [markdown]
# ## The whole program
#
# This is the program of the text, line for line, with two changes: `convlib` in place of `keras`,
# and drawn digits in place of MNIST. It stacks a network, shows it sixty thousand digits five
# times, and asks it about ten thousand that it has not seen. It takes less than a minute on two
# cores of an ordinary computer. (The first line only makes the run repeatable. The very first run
# takes a little longer, because the library is compiled.)

# %% tags=["nbval-ignore-output", "volatile-output"]
convlib.utils.set_random_seed(0)
start = time.perf_counter()

from convlib import layers
from convlib import models

model = models.Sequential()
model.add(layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.Flatten())
model.add(layers.Dense(64, activation='relu'))
model.add(layers.Dense(10, activation='softmax'))

from convlib.datasets import strokes
from convlib.utils import to_categorical

(train_images, train_labels), (test_images, test_labels) = strokes.load_data()
train_images = train_images.reshape((60000, 28, 28, 1))
train_images = train_images.astype('float32') / 255
test_images = test_images.reshape((10000, 28, 28, 1))
test_images = test_images.astype('float32') / 255
train_labels = to_categorical(train_labels)
test_labels = to_categorical(test_labels)

model.compile(optimizer='rmsprop', loss='categorical_crossentropy', metrics=['accuracy'])
model.fit(train_images, train_labels, epochs=5, batch_size=64)

test_loss, test_acc = model.evaluate(test_images, test_labels)
print(test_acc)
print(f"{time.perf_counter() - start:.0f} seconds in all")

# %% tags=["nbval-ignore-output"]
print(f"{100 * test_acc:.1f} % of the drawn test digits are read correctly")
assert test_acc > 0.96

# %% [markdown]
# ## Now real handwriting
#
# So far it has read digits drawn by the program that taught it. The real test is handwriting. The
# network has never seen a digit that a person wrote.

# %%
handwriting = real_images.reshape((-1, 28, 28, 1)).astype("float32") / 255
probabilities = model.predict(handwriting, verbose=0)
read_as = probabilities.argmax(axis=1)
correct = read_as == real_labels
accuracy = correct.mean()

# %% tags=["nbval-ignore-output"]
print(f"{correct.sum()} of {len(correct)} handwritten digits read: {100 * accuracy:.0f} %")
assert 0.8 < accuracy < test_acc

# %%
show(
    figures.readings(real_images[:30], probabilities[:30], real_labels[:30]),
    "Thirty digits that people wrote, with what the network reads and how sure it is; any "
    "mistake has an orange frame.",
)

# %% [markdown]
# A blind guess would be right once in ten times. The network is right far more often, but less
# often than on drawn digits. Both are worth a thought: it did learn something about shapes that
# carries over to pens and people, and its accuracy on its own kind of data promised too much.
#
# ## Touch it
#
# Move the slider through the handwriting.

# %%
sure_mistakes = np.flatnonzero(~correct)
sure_mistakes = sure_mistakes[np.argsort(-probabilities[sure_mistakes].max(axis=1))]


def one_reading(image):
    """Draw one handwritten digit and the ten probabilities."""
    return figures.reading(real_images[image], probabilities[image], real_labels[image])


explore(
    one_reading,
    "One handwritten digit, and beside it the probability that the network gives to each answer; "
    "a wrong answer is orange.",
    image=range(100),
)

# %% [markdown]
# And these are the mistakes of which it was most certain.

# %%
worst = sure_mistakes[:10]
show(
    figures.readings(real_images[worst], probabilities[worst], real_labels[worst]),
    "Ten mistakes that the network made with great confidence: a high probability is no proof.",
)

# %% [markdown]
# ## A common mistake: “it has learned what a five is”
#
# It has learned which of ten numbers to raise for pictures like those it was shown. Show it
# something that is no digit, and it still answers one of the ten, and may be quite sure.

# %%
random = np.random.default_rng(0)
noise = random.uniform(size=(1000, 28, 28, 1)).astype("float32")
answers = model.predict(noise, verbose=0)
show(
    figures.reading(noise[0], answers[0]),
    "Pure noise is no digit, but the probabilities sum to one all the same, so one of them wins.",
)
assert np.allclose(answers.sum(axis=1), 1, atol=1e-4)

# %% [markdown]
# ## Exercises
#
# Chapters end with exercises that check themselves. This one shows how that works: replace the
# three dots, run the cell, and read what it says. Try a wrong answer first.
#
# **1. Steps.** During training the bar counted batches of 64 images. How many batches does it take
# to show all 60 000 images once?

# %%
steps_per_epoch = ...

checks.check_steps_per_epoch(steps_per_epoch)

# %% [markdown]
# **2. Certainty.** Of the handwritten digits that are read with a probability above 0.99, which
# share is read correctly? Use `probabilities` and `correct`, which this chapter computed.

# %%
share_correct = ...

checks.check_share_of_sure_readings(share_correct, probabilities, real_labels)

# %% [markdown]
# **3. Which digit is hardest?** Find the digit of which the smallest share is read correctly.

# %%
hardest_digit = ...

checks.check_hardest_digit(hardest_digit, probabilities, real_labels)

# %% [markdown]
# Solutions are in [solutions/00_start_here.ipynb](solutions/00_start_here.ipynb).
#
# ## Where to go from here
#
# **You are new to convolutional networks.** Begin with [1 · Image kernels](01_image_kernels.ipynb)
# and read on in order. Chapters 1 to 9 take one idea each. [10 · A small
# convnet](10_small_convnet.ipynb) puts them together, [11 · Backpropagation](11_backprop.ipynb)
# says how such a network learns, and [14 · Train it, then look
# inside](14_train_and_look_inside.ipynb) trains it on MNIST and looks at what it has learned. Leave
# 12 and 13 for later.
#
# **You know Keras and want to see inside.** Begin with [10 · A small
# convnet](10_small_convnet.ipynb), which counts what your networks are made of. What you may not
# have seen elsewhere: what depends on where the windows fall ([6 · Strides](06_strides.ipynb), [8 ·
# Shifts](08_shifts.ipynb)), which pixels never reach the answer ([9 ·
# Hierarchies](09_hierarchies.ipynb)), that networks with wrong gradients learn ([11 ·
# Backpropagation](11_backprop.ipynb)), and what an accuracy is worth ([14 · Train it, then look
# inside](14_train_and_look_inside.ipynb)).
#
# **You want the fast kernels.** Every chapter shows a definition in NumPy beside its compiled
# version, with a line on the difference. Begin with [4 · Patch by patch](04_patch_by_patch.ipynb),
# which computes one sum in four ways, and go on with [12 · Fast on the
# CPU](12_fast_on_the_cpu.ipynb) and [13 · Fast on the GPU](13_fast_on_the_gpu.ipynb). The
# definitions are all in [kernels/reference.py](../convlib/kernels/reference.py), the compiled
# versions in [kernels/cpu](../convlib/kernels/cpu) and [kernels/cuda](../convlib/kernels/cuda), and
# what they achieve in [benchmarks](../benchmarks).
#
# Four pages help on the way: the [notation](notation.md), a [glossary](glossary.md), a table of
# [where each sentence of the text is discussed](coverage.md), and [notes for
# teachers](teaching.md).
#
# ## Further reading
#
# - E. Alpaydin, C. Kaynak, *Optical recognition of handwritten digits*, UCI Machine Learning
#   Repository, 1998. The handwriting on this page, under the licence CC BY 4.0.
# - Y. LeCun, B. Boser, J. Denker and others, *Backpropagation applied to handwritten zip code
#   recognition*, 1989. Where it began.
#
# **Next:** [1 · Image kernels](01_image_kernels.ipynb) begins with nine numbers that blur, sharpen
# and find edges.
