# %% [markdown]
# # Solutions to chapter 0
#
# The exercises are in [0 · Start here](../00_start_here.ipynb). To have something to count, this
# page trains the same network for one epoch on ten thousand drawn digits.

# %%
import math

import numpy as np

from convlib import layers, models
from convlib.datasets import digits, strokes
from convlib.notebook.checks import start_here as checks
from convlib.utils import set_random_seed

set_random_seed(0)
(images, labels), _ = strokes.load_data(train=10_000, test=10)
_, (real_images, real_labels) = digits.load_data()
model = models.Sequential(
    [
        layers.Input((28, 28, 1)),
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(images[..., np.newaxis].astype("float32") / 255, labels, batch_size=64, verbose=0)
probabilities = model.predict(real_images[..., np.newaxis].astype("float32") / 255, verbose=0)
correct = probabilities.argmax(axis=1) == real_labels

# %% [markdown]
# **1. Steps.** The last batch is smaller than the others, but it is a batch: round up.

# %%
steps_per_epoch = math.ceil(60_000 / 64)

assert checks.check_steps_per_epoch(steps_per_epoch)
print(steps_per_epoch)

# %% [markdown]
# **2. Certainty.** Choose the digits first, then take the mean of what is true of them.

# %%
sure = probabilities.max(axis=1) > 0.99
share_correct = correct[sure].mean()

assert checks.check_share_of_sure_readings(share_correct, probabilities, real_labels)

# %% [markdown]
# **3. Which digit is hardest?** One share for each digit, and the place of the smallest.

# %%
shares = [correct[real_labels == digit].mean() for digit in range(10)]
hardest_digit = int(np.argmin(shares))

assert checks.check_hardest_digit(hardest_digit, probabilities, real_labels)
