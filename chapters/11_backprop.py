# %% [markdown]
# # 11 · Backpropagation
#
# **The text trains its network with a single call, `fit`. How does a weight find out which way to
# change? And would you notice if it were told wrong?**
#
# The text says of its layers many times that they “learn”, and stops before it says how. This
# chapter does the missing part by hand, for three numbers first, then for a whole network. It ends
# with networks whose gradients are wrong, and which learn all the same.
#
# Reading: thirty minutes. Running: seconds, and nothing to download.

# %%
from types import SimpleNamespace

import numba
import numpy as np

from convlib import functional
from convlib.datasets import strokes
from convlib.kernels import reference
from convlib.kernels.cpu import conv2d as cpu_conv2d
from convlib.kernels.cpu import outer_products, pooling
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import backprop as checks
from convlib.notebook.figures import gradients as figures

# The networks here are so small that two threads would mostly wait for each other.
numba.set_num_threads(1)

# %% [markdown]
# ## The smallest example
#
# Three inputs, a kernel of two weights, two outputs:
#
# $$y_0 = w_0 x_0 + w_1 x_1, \qquad y_1 = w_0 x_1 + w_1 x_2.$$
#
# Somewhere behind them the network ends in one number, the loss $L$, which is to become smaller.
# Suppose we know already how $L$ answers to the outputs: if $y_0$ grows by a little, $L$ grows by
# $dy_0$ times as much, and for $y_1$ it is $dy_1$. These two numbers are the *gradient* of $L$ with
# respect to the outputs, $dy_i = \partial L / \partial y_i$. We want to know the same of the
# inputs, $dx$, and of the weights, $dw$.
#
# Nudge $x_1$. It takes part in both outputs: $y_0$ changes by $w_1$ times the nudge, $y_1$ by $w_0$
# times. So $L$ changes by $w_1 dy_0 + w_0 dy_1$ times the nudge. The ends of the row take part
# once. And $w_0$ multiplies $x_0$ on its way to $y_0$, and $x_1$ on its way to $y_1$:
#
# $$dx_0 = w_0\,dy_0, \quad dx_1 = w_1\,dy_0 + w_0\,dy_1, \quad dx_2 = w_1\,dy_1,$$
#
# $$dw_0 = x_0\,dy_0 + x_1\,dy_1, \quad dw_1 = x_1\,dy_0 + x_2\,dy_1.$$
#
# That is the chain rule, and there is nothing else in this chapter.

# %%
x, w, dy = np.array([1.0, 4.0, 2.0]), np.array([3.0, -1.0]), np.array([2.0, 1.0])

y = np.array([w[0] * x[0] + w[1] * x[1], w[0] * x[1] + w[1] * x[2]])
dx = np.array([w[0] * dy[0], w[1] * dy[0] + w[0] * dy[1], w[1] * dy[1]])
dw = np.array([x[0] * dy[0] + x[1] * dy[1], x[1] * dy[0] + x[2] * dy[1]])
print("y ", y, "  dx", dx, "  dw", dw)

# %%
show(
    figures.arrows(x, w, dy),
    "Forward, an output adds up what arrives; backward, an input adds up what comes home along the "
    "same arrows, with the same weights.",
)

# %% [markdown]
# Is it true? Nudge each number and look. `slope` moves one element of an array up and down by a
# small step `h` and divides the change of the loss by `2h`. Let the loss be $L = dy_0 y_0 + dy_1
# y_1$, which answers to $y$ as we supposed.


# %%
def slope(loss, values, place, h=1e-6):
    """Return how a loss changes with one element of an array, by trying it."""
    up, down = values.copy(), values.copy()
    up[place] += h
    down[place] -= h
    return (loss(up) - loss(down)) / (2 * h)


def output(x, w):
    """Slide two weights along a row."""
    return functional.conv2d(x.reshape(1, 1, -1, 1), w.reshape(1, -1, 1, 1)).ravel()


tried_dx = [slope(lambda row: output(row, w) @ dy, x, place) for place in range(3)]
tried_dw = [slope(lambda pair: output(x, pair) @ dy, w, place) for place in range(2)]
print("dx by trying", np.round(tried_dx, 4), "  dw by trying", np.round(tried_dw, 4))
assert np.allclose(tried_dx, dx) and np.allclose(tried_dw, dw)

# %% [markdown]
# Trying costs two runs of the network for each number, and the text's network has 93,322
# parameters. The formulas give all of their gradients in about the time of two more runs. That is
# why one derives them.
#
# ## Two patterns
#
# Look at $dx$ once more. Put a zero on either side of $dy$, and slide over it the weights in
# *reverse* order, $(w_1, w_0)$:
#
# $$(0, dy_0, dy_1, 0) \quad\to\quad 0 \cdot w_1 + dy_0 w_0, \quad
# dy_0 w_1 + dy_1 w_0, \quad dy_1 w_1 + 0 \cdot w_0.$$
#
# Sliding a reversed kernel is what mathematics calls convolution, and the border of zeros makes it
# a *full* one: every position counts in which kernel and $dy$ overlap at all. And $dw$ is plain
# sliding, without reversal: $dy$ is the kernel, and $x$ is what it slides over.

# %%
print("dx:", np.convolve(dy, w, mode="full"))
print("dw:", np.correlate(x, dy, mode="valid"))
assert np.array_equal(np.convolve(dy, w, mode="full"), dx)
assert np.array_equal(np.correlate(x, dy, mode="valid"), dw)

# %% [markdown]
# There is a third way to see it. The layer is a matrix, $y = A x$, with each row the kernel moved
# on by one. Going back is the transposed matrix, $dx = A^\top dy$: rows become columns, and the
# weights of a column stand in reverse order.

# %%
A = np.array([[w[0], w[1], 0.0], [0.0, w[0], w[1]]])
print(A)
assert np.array_equal(A @ x, y) and np.array_equal(A.T @ dy, dx)

# %% [markdown]
# ## Pictures instead of rows
#
# In two dimensions the same happens in both directions. One cell of $dy$ came from a window of $x$,
# so its gradient is spread over that window, each pixel's share multiplied by the weight that the
# pixel had met. Windows overlap, and shares add up.

# %%
kernel = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0], [1.0, 0.0, -2.0]])
gradient = np.array([[1.0, 0.0, 2.0], [-1.0, 3.0, 0.0], [0.0, 1.0, -2.0]])

# %%
show_animation(
    [figures.spread_frame(gradient, kernel, cell) for cell in (*range(9), 8)],
    "Cell after cell of dy, framed, is multiplied with the whole kernel, and the patch is added to "
    "dx in the place of the window that the cell was computed from.",
    seconds=1.1,
)

# %% [markdown]
# Now ask from the other end. Which cells of $dy$ contribute to one pixel of $dx$? Those of the
# windows that held it. The window that starts at the pixel met it with $w_{0,0}$, the one that
# starts two rows above and two columns to the left with $w_{2,2}$. Early windows met it with late
# weights: the kernel appears turned by 180 degrees.

# %%
show(
    figures.gathered(gradient, kernel, 2, 1),
    "The same dx, gathered: one of its pixels is a window of dy in a border of zeros, multiplied "
    "with the kernel turned by 180 degrees, and summed.",
)

# %% [markdown]
# With the input $x$ (`x` in the code), the kernel $w$ (`w`), the bias $b$ (`b`) and the gradient of
# the output $dy$ (`dy`):
#
# $$dx_{p,q} = \sum_{u,v} dy_{p-u,\,q-v}\, w_{u,v}, \qquad
# dw_{u,v} = \sum_{i,j} x_{i+u,\,j+v}\, dy_{i,j}, \qquad
# db = \sum_{i,j} dy_{i,j}.$$
#
# The minus signs on the left are the flip. Layers *correlate*, although they are called
# convolutions; on the way back they do convolve. The library has both operations under their own
# names, so that we can check it. The integers are exact in floating point, so these are equalities.

# %%
image = np.arange(25.0).reshape(5, 5) % 7


def as_batch(plane):
    """Give an image, or a kernel, the two axes that it lacks here."""
    return plane[None, :, :, None]


def as_kernel(plane):
    """Give a kernel its axes for channels and filters."""
    return plane[:, :, None, None]


arguments = as_batch(image), as_kernel(kernel), as_batch(gradient)
dx = functional.conv2d_input_gradient(*arguments)[0, :, :, 0]
dw, db = functional.conv2d_kernel_gradient(*arguments)

full = functional.convolve2d(np.pad(gradient, 2), kernel, mode="valid")
print("dx is a full convolution of dy and w: ", np.array_equal(dx, full))
sliding = functional.correlate2d(image, gradient, mode="valid")
print("dw is a correlation of x with dy:     ", np.array_equal(dw[:, :, 0, 0], sliding))
print("db is the sum of dy:                  ", db[0] == gradient.sum())
assert np.array_equal(dx, full) and np.array_equal(dw[:, :, 0, 0], sliding)
assert db[0] == gradient.sum()

# %% [markdown]
# *Channels* change little. Each filter has read all input channels, so $dx$ in one channel is a sum
# over filters; and $dw$ has one correlation for each pair of channel and filter. A *batch* is
# summed over. A *stride* leaves gaps: with stride 2 the cells of $dy$ belong to every second place,
# and zeros stand between them.

# %%
wide = functional.conv2d_input_gradient(
    np.zeros((1, 7, 7, 1)), as_kernel(kernel), as_batch(gradient), strides=2
)
gaps = np.zeros((5, 5))
gaps[::2, ::2] = gradient
full = functional.convolve2d(np.pad(gaps, 2), kernel, mode="valid")
same = np.array_equal(wide[0, :, :, 0], full)
print("stride 2: the same, with zeros between the cells of dy:", same)
assert same

# %% [markdown]
# ## The kernels
#
# On the left is the definition of $dx$ in the library, on the right its fast version. The
# definition spreads: for each kernel element it adds a shifted `dy`. The fast one gathers, with the
# flipped kernel, so that it can use the code of the forward pass, and each number of $dx$ is
# written once.

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_backward_input, cpu_conv2d.conv2d_backward_input)

# %% [markdown]
# The gradient of the kernel. The definition forms one product for each kernel element, and reads
# the whole of `dy` for each. The fast version keeps a block of `dw` in registers while it runs once
# over the windows, and gives every task sums of its own, which are added in a fixed order.

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_backward_params, outer_products._outer_product)

# %%
random = np.random.default_rng(11)
x = random.normal(size=(8, 13, 13, 32)).astype(np.float32)
w = random.normal(size=(3, 3, 32, 64)).astype(np.float32)
dy = random.normal(size=(8, 11, 11, 64)).astype(np.float32)
for function in (functional.conv2d_input_gradient, functional.conv2d_kernel_gradient):
    fast, slow = function(x, w, dy), function(x, w, dy, backend="reference")
    if isinstance(fast, tuple):
        fast, slow = fast[0], slow[0]
    difference = np.abs(fast - slow).max() / np.abs(slow).max()
    print(fast.shape, "both agree to a 50 000th of the largest:", bool(difference < 1 / 50_000))
    assert difference < 1 / 50_000

# %% [markdown]
# ## A pooling sends it to the winner
#
# A maximum follows its largest input and ignores the others. So the gradient of a window goes to
# the pixel that won, whole, and the losers get nothing. The last row and column below belong to no
# window, because five is odd. They get nothing either.

# %%
pixels = np.array(
    [
        [1.0, 3.0, 0.0, 2.0, 5.0],
        [2.0, 0.0, 4.0, 1.0, 0.0],
        [0.0, 1.0, 2.0, 2.0, 3.0],
        [6.0, 2.0, 0.0, 1.0, 1.0],
        [2.0, 7.0, 1.0, 0.0, 2.0],
    ]
)
dy = np.array([[2.0, -1.0], [3.0, 1.0]])
dx = functional.max_pool2d_gradient(as_batch(pixels), as_batch(dy))[0, :, :, 0]
assert (np.count_nonzero(dx), dx.sum()) == (4, dy.sum())
show(
    figures.routed(pixels, dy, dx),
    "Each of the four windows hands its whole gradient to its largest pixel; of the two equal ones "
    "in the lower right window the first is taken.",
)

# %% [markdown]
# The text says that pooling layers “are similar to convolutions”. On the way back the difference is
# plain. Which share of a gradient goes where is decided in a convolution by its weights, whatever
# the image, and in a pooling by the image: it has to remember the winners. The definition keeps
# that in `argmax` and adds to all windows at once; the fast version visits each pixel once and
# collects from the windows above it, so that no two threads write to the same place.

# %% tags=["nbval-ignore-output"]
source(reference.max_pool2d_backward, pooling._collect_won)

# %% [markdown]
# ## ReLU, dense, softmax
#
# The remaining steps are short.
#
# - **ReLU** lets a value pass if it is positive. Its gradient passes where the value passed, and is
#   zero elsewhere. (At exactly zero there is no slope; the library takes 0. We come back to that.)
# - **Dense** is $y = x W$, so $dx = dy\,W^\top$ and $dW = x^\top dy$: a convolution that has a
#   single window.
# - **Softmax and cross-entropy** together have the simplest gradient of all. For scores $z$ and the
#   right class $t$,
#
# $$L = -\ln p_t = \ln \sum_j e^{z_j} - z_t, \qquad \frac{\partial L}{\partial z_i} =
# \frac{e^{z_i}}{\sum_j e^{z_j}} - [i = t] = p_i - \text{target}_i.$$
#
# It is what the network said, minus what it should have said.

# %%
scores, truth = np.array([[2.0, 1.0, 0.0]]), np.array([1])
p = functional.softmax(scores)[0]
by_formula = p - np.array([0.0, 1.0, 0.0])
by_trying = [
    slope(lambda z: functional.softmax_cross_entropy(z, truth)[0], scores, (0, place))
    for place in range(3)
]
print("probabilities ", np.round(p, 3))
print("p - target    ", np.round(by_formula, 3))
print("by trying     ", np.round(by_trying, 3))
assert np.allclose(by_formula, by_trying, atol=1e-8)
assert np.allclose(by_formula, functional.softmax_cross_entropy_gradient(scores, truth)[0])

# %% [markdown]
# ## The chain
#
# Now a whole network: two convolutions, each with ReLU and pooling, and a dense layer. It is the
# text's network with one convolution less, for digits shrunk to 14×14, so that it can be trained
# many times while you read. `forward` keeps what each step made. `backward` walks the same list
# from the end to the start. The argument `F` is the library; soon it will be a broken one.


# %%
def forward(F, p, x):
    """Return what every step makes of a batch of images."""
    s = SimpleNamespace(x=x)
    s.z1 = F.conv2d(s.x, p["w1"], p["b1"])
    s.a1 = F.relu(s.z1)
    s.m1 = F.max_pool2d(s.a1)
    s.z2 = F.conv2d(s.m1, p["w2"], p["b2"])
    s.a2 = F.relu(s.z2)
    s.m2 = F.max_pool2d(s.a2)
    s.scores = F.dense(s.m2.reshape(len(x), -1), p["w3"], p["b3"])
    return s


def backward(F, p, s, labels):
    """Return the gradients of the mean loss: of the parameters, and of every step's result."""
    g, d = {}, SimpleNamespace()
    flat = s.m2.reshape(len(labels), -1)
    d.scores = F.softmax_cross_entropy_gradient(s.scores, labels, scale=1 / len(labels))
    g["w3"], g["b3"] = F.dense_kernel_gradient(flat, p["w3"], d.scores)
    d.m2 = F.dense_input_gradient(flat, p["w3"], d.scores).reshape(s.m2.shape)
    d.a2 = F.max_pool2d_gradient(s.a2, d.m2)
    d.z2 = F.relu_gradient(s.z2, d.a2)
    g["w2"], g["b2"] = F.conv2d_kernel_gradient(s.m1, p["w2"], d.z2)
    d.m1 = F.conv2d_input_gradient(s.m1, p["w2"], d.z2)
    d.a1 = F.max_pool2d_gradient(s.a1, d.m1)
    d.z1 = F.relu_gradient(s.z1, d.a1)
    g["w1"], g["b1"] = F.conv2d_kernel_gradient(s.x, p["w1"], d.z1)
    return g, d


def initial(seed, bias=0.0, dtype=np.float32):
    """Return random weights, and biases that are zero or random too."""
    random = np.random.default_rng(seed)
    shapes = {"w1": (3, 3, 1, 12), "b1": (12,), "w2": (3, 3, 12, 24), "b2": (24,)}
    shapes |= {"w3": (2 * 2 * 24, 10), "b3": (10,)}
    widths = {n: np.sqrt(2 / np.prod(s[:-1])) if n[0] == "w" else bias for n, s in shapes.items()}
    return {n: (widths[n] * random.normal(size=s)).astype(dtype) for n, s in shapes.items()}


def loss(p, x, labels):
    """Return the mean loss of a batch."""
    return functional.softmax_cross_entropy(forward(functional, p, x).scores, labels).mean()


# %%
(train_images, train_labels), (test_images, test_labels) = strokes.load_data()
train_labels, test_labels = train_labels.astype(int), test_labels[:5000].astype(int)


def shrunk(images):
    """Return images at half size, from 0 to 1."""
    return functional.average_pool2d(images[..., None].astype(np.float32) / 255)


train_images, test_images = shrunk(train_images[:24_000]), shrunk(test_images[:5000])

# %%
some = train_images[:20].astype(np.float64)
labels = train_labels[:20]
p = initial(11, dtype=np.float64)
s = forward(functional, p, some)
g, d = backward(functional, p, s, labels)

d.x = functional.conv2d_input_gradient(s.x, p["w1"], d.z1)  # training has no use for this one

number = int(np.flatnonzero(labels == 8)[0])
channel_2 = int(np.abs(d.m2[number]).sum((0, 1)).argmax())
channel_1 = int(np.abs(d.m1[number]).sum((0, 1)).argmax())
names = {"x": "image", "z1": "conv", "a1": "ReLU", "m1": "pool"}
names |= {"z2": "conv", "a2": "ReLU", "m2": "pool"}
channels = [0] + [channel_1] * 3 + [channel_2] * 3
show(
    figures.there_and_back(
        [f"{kind} {name}" for name, kind in names.items()],
        [vars(s)[name][number, :, :, c] for name, c in zip(names, channels)],
        [vars(d)[name][number, :, :, c] for name, c in zip(names, channels)],
    ),
    "An eight goes from left to right, one channel of each step; the gradients come back from "
    "right to left, and behind each pooling at most one in four is left.",
    colours=128,
)

# %% [markdown]
# Behind a pooling three of four gradients are zero, and ReLU silences more. A library may store and
# multiply all these zeros, or know where they are. Chapter 12 makes use of that.

# %%
alive = {name: np.count_nonzero(vars(d)[name]) / vars(d)[name].size for name in ("z1", "z2")}
assert max(alive.values()) <= 0.25
print("one in four or fewer left at z1 and at z2:", max(alive.values()) <= 0.25)

# %% [markdown]
# ## Is it right? Nudge, and measure how wrong the nudging is
#
# `slope` is the judge. But a difference quotient is no exact slope either. Two errors pull its step
# $h$ in opposite directions:
#
# $$\frac{L(w+h) - L(w-h)}{2h} = L'(w) \;+\; \underbrace{\tfrac{h^2}{6} L'''(w) +
# \cdots}_{\text{the series is cut off}} \;+\; \underbrace{\text{about } \varepsilon\,
# \tfrac{|L|}{h}}_{\text{rounding}}.$$
#
# The first shrinks with $h$. The second grows: $L$ is known to about $\varepsilon$ of its size
# ($6 \cdot 10^{-8}$ in float32, $10^{-16}$ in float64), and that uncertainty is divided by $h$. The
# best step is where both are equal, near $h = \sqrt[3]{\varepsilon}$. The loss here is that of a
# convolution with softmax and cross-entropy, which is smooth.


# %%
def smooth_loss(w, x, labels):
    """Return the loss of a single convolution, the means of whose ten maps are scores."""
    return functional.softmax_cross_entropy(functional.conv2d(x, w).mean((1, 2)), labels).mean()


ten_images = some[:10]
w = random.normal(size=(3, 3, 1, 10))
direction = random.normal(size=w.shape)
scores = functional.conv2d(ten_images, w).mean((1, 2))
d_scores = functional.softmax_cross_entropy_gradient(scores, labels[:10], scale=1 / 10)
d_maps = np.broadcast_to(d_scores[:, None, None] / 144, (10, 12, 12, 10)).copy()
dw, _ = functional.conv2d_kernel_gradient(ten_images, w, d_maps)
exact = (dw * direction).sum()
h_values = np.logspace(-12, 1, 105)


def quotient(h, dtype, sides):
    """Return the slope along the direction, from losses computed in one number format."""
    x = ten_images.astype(dtype)
    up = float(smooth_loss((w + h * direction).astype(dtype), x, labels[:10]))
    if sides == "one-sided":
        return (up - float(smooth_loss(w.astype(dtype), x, labels[:10]))) / h
    return (up - float(smooth_loss((w - h * direction).astype(dtype), x, labels[:10]))) / (2 * h)


def relative_errors(dtype, sides="two-sided"):
    """Return the error of the quotient at every step."""
    slopes = np.array([quotient(h, dtype, sides) for h in h_values])
    return np.abs(slopes - exact) / abs(exact)


def error_curves(difference):
    """Draw the error against the step for both number formats."""
    errors = {"float32": relative_errors(np.float32, difference)}
    errors["float64"] = relative_errors(np.float64, difference)
    order = 1 if difference == "one-sided" else 2
    # Where the step is large enough for rounding not to matter, the error tells its own factor.
    anchor = int(np.argmin(np.abs(h_values - 10 ** (-2 if order == 2 else -3))))
    truncation = errors["float64"][anchor] * (h_values / h_values[anchor]) ** order
    return figures.step_errors(h_values, errors, order, truncation)


explore(
    error_curves,
    "From right to left the error falls with the square of h, until rounding takes over and it "
    "grows again: in float64 some ten digits are right at best, in float32 about four.",
    difference=("two-sided", "one-sided"),
)

# %% [markdown]
# Move the slider to *one-sided*, which saves half of the runs: $(L(w+h) - L(w))/h$. Its error falls
# with $h$ only, not with $h^2$, and it never gets as good.
#
# So check gradients in float64, with two sides, and $h$ about $10^{-5}$ or $10^{-6}$. In float32 no
# step distinguishes a right gradient from one that is wrong in the fourth digit.

# %%
best = {}
for dtype in (np.float32, np.float64):
    for sides in ("one-sided", "two-sided"):
        best[np.dtype(dtype).name, sides] = np.sort(relative_errors(dtype, sides))[5]
assert best["float64", "two-sided"] < 1e-8 < 1e-6 < best["float32", "two-sided"] < 1e-2
assert best["float64", "two-sided"] < best["float64", "one-sided"] / 5
errors = relative_errors(np.float64)
large, small = np.argmin(np.abs(h_values - 1e-1)), np.argmin(np.abs(h_values - 1e-3))
order = np.log10(errors[large] / errors[small]) / np.log10(h_values[large] / h_values[small])
print(f"from h = 0.001 to 0.1 the error grows as h to the power of {order:.1f}")
assert abs(order - 2) < 0.1

# %% [markdown]
# Not every weight needs its own trial. Move all elements of an array at once, in a random direction
# $v$: the loss must change by $\langle dw, v\rangle$. A wrong element spoils that sum unless by
# extraordinary luck. So two runs for each parameter array are enough.


# %%
def gradient_errors(F, p, x, labels, h=1e-6):
    """Return, for each parameter, the relative error of the slope in a random direction."""
    random = np.random.default_rng(0)
    g, _ = backward(F, p, forward(F, p, x), labels)
    errors = {}
    for name, values in p.items():
        v = random.normal(size=values.shape)
        up, down = (loss(p | {name: values + step * v}, x, labels) for step in (h, -h))
        tried, derived = (up - down) / (2 * h), (g[name] * v).sum()
        errors[name] = abs(tried - derived) / max(abs(tried), abs(derived))
    return errors


for name, error in gradient_errors(functional, p, some, labels).items():
    print(name, "agrees" if error < 1e-5 else "DISAGREES")

# %% [markdown]
# One of six disagrees, and the library is right. The judge is wrong. The biases start at exactly
# zero, and much of the image is white paper, so that `z1` is exactly zero there. That is the corner
# of ReLU. Nudge the bias up, and all the paper lights up; nudge it down, and nothing happens. The
# quotient takes the mean of both sides, the library takes the left side, and neither is *the*
# slope, which does not exist.

# %%
print(f"{np.mean(s.z1 == 0):.0%} of z1 lie on the corner")
assert gradient_errors(functional, p, some, labels)["b1"] > 0.01
p = initial(11, bias=0.1, dtype=np.float64)
on_corner = np.mean(forward(functional, p, some).z1 == 0)
errors = gradient_errors(functional, p, some, labels)
print(f"with random biases: {on_corner:.0%}, and", end=" ")
print("all agree" if max(errors.values()) < 1e-5 else "they disagree")
assert on_corner == 0 and max(errors.values()) < 1e-5

# %% [markdown]
# A gradient check belongs at a place where the function is smooth. Give biases random values first.
# (A tie in a pooling is a corner as well.)
#
# ## A check without a step
#
# A convolution is linear in its image, and linear in its kernel. For such functions there is a
# check without any $h$. Write $\langle a, b\rangle$ for the sum of all products of elements. Then,
# with the matrix $A$ of the layer, $\langle Ax, dy\rangle = \langle x, A^\top dy\rangle$, and so
#
# $$\langle \text{conv}(x, w),\, dy\rangle \;=\; \langle x,\, dx\rangle \;=\; \langle w,\,
# dw\rangle$$
#
# for *any* arrays $x$, $w$, $dy$. All three are the same sum over all triples of an input, a weight
# and an output that meet; they only add it up in another order. Geophysicists call it the
# dot-product test.

# %%
x, w = random.normal(size=(2, 9, 8, 3)), random.normal(size=(3, 3, 3, 4))
dy = random.normal(size=(2, 7, 6, 4))


def dot(a, b):
    """Return the sum of all products of elements."""
    return float((a * b).sum())


def unflipped(x, w, dy):
    """Return dx with the kernel as it is: wrong."""
    return functional.conv2d_input_gradient(x, w[::-1, ::-1], dy)


forward_sum = dot(functional.conv2d(x, w), dy)
input_sum = dot(x, functional.conv2d_input_gradient(x, w, dy))
kernel_sum = dot(w, functional.conv2d_kernel_gradient(x, w, dy)[0])
print(f"conv(x, w) · dy  {forward_sum:9.3f}")
print(f"x · dx           {input_sum:9.3f}")
print(f"w · dw           {kernel_sum:9.3f}")
print(f"x · unflipped dx {dot(x, unflipped(x, w, dy)):9.3f}")
scale = dot(np.abs(functional.conv2d(np.abs(x), np.abs(w))), np.abs(dy))
assert abs(forward_sum - input_sum) < 1e-13 * scale
assert abs(forward_sum - kernel_sum) < 1e-13 * scale
assert abs(forward_sum - dot(x, unflipped(x, w, dy))) > 1e-4 * scale

# %% [markdown]
# Equal up to rounding, so it works in float32 as well, and costs one run. But it needs linearity.
# For ReLU, pooling and the loss, nudging remains.
#
# ## A network with a broken gradient
#
# Now break something. `broken` returns the library with some functions replaced. Each of these
# mistakes has been made by somebody who wrote a backward pass for the first time.


# %%
def broken(**replaced):
    """Return the library with other functions in place of its own."""
    return SimpleNamespace(**{**vars(functional), **replaced})


def lost_element(x, w, dy):
    """Leave out the last kernel element, as a loop does that ends too early."""
    dw, db = functional.conv2d_kernel_gradient(x, w, dy)
    dw[2, 2] = 0
    return dw, db


def no_bias_gradient(x, w, dy):
    """Forget the biases of the convolutions."""
    dw, db = functional.conv2d_kernel_gradient(x, w, dy)
    return dw, np.zeros_like(db)


def to_all_four(x, dy):
    """Give every pixel of a pooling window its gradient, whoever won."""
    dx = np.zeros_like(x)
    rows, columns = 2 * dy.shape[1], 2 * dy.shape[2]
    dx[:, :rows, :columns] = dy.repeat(2, axis=1).repeat(2, axis=2)
    return dx


libraries = {
    "all right": functional,
    "dw: one element of nine lost": broken(conv2d_kernel_gradient=lost_element),
    "db: biases forgotten": broken(conv2d_kernel_gradient=no_bias_gradient),
    "dx: nothing sent back": broken(conv2d_input_gradient=lambda x, w, dy: np.zeros_like(x)),
    "dx: kernel not flipped": broken(conv2d_input_gradient=unflipped),
    "pool: sent to all four": broken(max_pool2d_gradient=to_all_four),
    "ReLU: always let through": broken(relu_gradient=lambda x, dy: dy),
}

# %% [markdown]
# The training is plain: batches of 50, and a step against a running sum of gradients (*momentum*).
# Right and broken networks start from the same weights and see the same 4 000 digits in the same
# order, three times. Six seeds have other weights, other digits and another order.


# %%
def train(F, seed, epochs=3, batch=50, rate=0.05, momentum=0.9):
    """Return the parameters after training with the gradients of a library."""
    p, random = initial(seed), np.random.default_rng(100 + seed)
    speed = {name: np.zeros_like(values) for name, values in p.items()}
    mine = np.arange(4000 * seed, 4000 * (seed + 1))
    for _ in range(epochs):
        for chosen in random.permutation(mine).reshape(-1, batch):
            s = forward(F, p, train_images[chosen])
            g, _ = backward(F, p, s, train_labels[chosen])
            for name in p:
                speed[name] = momentum * speed[name] - rate * g[name]
                p[name] = p[name] + speed[name]
    return p


def accuracy(p):
    """Return the share of 5 000 test digits that is read correctly."""
    return np.mean(forward(functional, p, test_images).scores.argmax(1) == test_labels)


seeds = range(6)
accuracies = {
    name: np.array([accuracy(train(F, seed)) for seed in seeds]) for name, F in libraries.items()
}

# %% tags=["nbval-ignore-output"]
for name, values in accuracies.items():
    print(f"{name:<30}{100 * values.mean():5.1f} ± {100 * values.std(ddof=1):.1f} %")

# %%
check_errors = {name: gradient_errors(F, p, some, labels) for name, F in libraries.items()}
for name, errors in check_errors.items():
    wrong = [parameter for parameter, error in errors.items() if error > 1e-5]
    print(f"{name:<30} wrong:", ", ".join(wrong) or "nothing")

# %%
show(
    figures.right_and_broken(
        accuracies, {name: list(e.values()) for name, e in check_errors.items()}, list(p)
    ),
    "Left: of six broken networks two read as well as the right one, and three still read most "
    "digits. Right: the gradient check finds every mistake, and shows which layers it spoils.",
)

# %%
right, *rest = accuracies
mean = {name: values.mean() for name, values in accuracies.items()}
assert mean[right] > 0.85
for harmless in ("dw: one element of nine lost", "db: biases forgotten"):
    assert abs(mean[harmless] - mean[right]) < 0.03
for harmful in ("dx: kernel not flipped", "pool: sent to all four"):
    assert 0.70 < mean[harmful] < mean[right]
assert 0.80 < mean["dx: nothing sent back"] < mean[right] + 0.01
assert mean["ReLU: always let through"] < 0.2
assert max(check_errors[right].values()) < 1e-5
assert all(max(check_errors[name].values()) > 1e-3 for name in rest)

# %% [markdown]
# A ninth of each kernel never learned, or no bias of a convolution did, and six seeds do not show
# it: the mean differs by less than the seeds do. When nothing at all is sent back, the first layer
# keeps the random weights it was born with, and on average the network still reads more than four
# digits in five. The unflipped kernel and the careless pooling cost some digits in a hundred.
# Whoever has no right network to compare with would take that for a matter of learning rate.
#
# Only the last mistake shows: one digit in ten, a blind guess. And what does one do with a network
# that does not learn? One lowers the learning rate.

# %%
slow = {
    name: np.array([accuracy(train(libraries[name], seed, rate=0.005)) for seed in seeds])
    for name in ("all right", "ReLU: always let through")
}

# %% tags=["nbval-ignore-output"]
for name, values in slow.items():
    print(f"{name:<30}{100 * values.mean():5.1f} ± {100 * values.std(ddof=1):.1f} %")

# %%
assert all(values.mean() > 0.72 for values in slow.values())
assert abs(slow["all right"].mean() - slow["ReLU: always let through"].mean()) < 0.04
assert slow["all right"].mean() < mean[right] - 0.04

# %% [markdown]
# Now it learns, and as well as the right network does at that rate. Both are slow, and what one
# would write down is “needs a small learning rate”. What is missing is a factor in one line.
#
# The pattern in the right half of the figure is a diagnosis as well. Gradients flow from the end to
# the start, so a mistake in $dx$ or in a pooling spoils everything before it and nothing behind it.
#
# ## A common mistake: “it trains, so it is right”
#
# Why does it train? A step along any direction $-u$ lowers the loss, if it is short enough and
# $\langle u, g\rangle > 0$: the wrong gradient $u$ has to lie on the same side as the right one,
# $g$, and nothing more. Here is the cosine of the angle between them, for each parameter array in
# turn, at the start of training. It is 1 for the same direction, and 0 for a direction that has
# nothing to do with $g$.

# %% tags=["nbval-ignore-output"]
start = initial(0, bias=0.1)
many, many_labels = train_images[:1000], train_labels[:1000]
state = forward(functional, start, many)
truth, _ = backward(functional, start, state, many_labels)


def cosine(a, b):
    """Return the cosine of the angle between two arrays, 0 if one of them is zero."""
    size = np.sqrt(dot(a, a) * dot(b, b))
    return dot(a, b) / size if size else 0.0


cosines = {}
print(" " * 30, *(f"{name:>6}" for name in start))
for name, F in libraries.items():
    g, _ = backward(F, start, state, many_labels)
    cosines[name] = np.array([cosine(g[parameter], truth[parameter]) for parameter in start])
    print(f"{name:<30}", *(f"{value:6.2f}" for value in cosines[name]))

# %%
assert all(cosines[name][4:].min() > 0.999 for name in rest)
assert all(cosines[name].min() > -0.05 for name in rest)
assert cosines["dw: one element of nine lost"].min() > 0.8

# %% [markdown]
# None is negative. The last layer, `w3` and `b3`, always hears the truth, because gradients reach
# it before any of the mistakes. A last layer alone, on top of random features, is a decent reader
# of digits. A kernel with a lost element points nearly the right way. Learning is forgiving: it
# corrects with every batch what the batch before left wrong.
#
# That is fine for learning and bad for whoever looks for mistakes. An accuracy says that the
# network is good enough. It does not say that the program computes what it claims. For that, check
# the gradients, before you train.
#
# What was shown:
#
# - $dx$ is a full convolution of $dy$ with the kernel: the flip comes back. $dw$ is a correlation
#   of $x$ with $dy$. A pooling sends its gradient to the winner. The loss starts it with $p -
#   \text{target}$.
# - A difference quotient has an error of its own, and a best step: near $10^{-5}$ in float64.
# - A check must stay away from corners, or it accuses the innocent.
# - A convolution can be checked without a step, by its adjoint.
# - Networks with wrong gradients learn. Six seeds could not tell two of them from the right one,
#   and a small learning rate hid a third. The gradient check needed two runs for each parameter
#   array.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/11_backprop.ipynb](solutions/11_backprop.ipynb).
#
# **1. The gradient of the input.** Write $dx$ for one image with one channel, and one filter, at
# stride 1 and without padding. `dy` and `w` are two-dimensional. Spread or gather, as you like.


# %%
def input_gradient(dy, w):
    """Return dx, from the gradient of the output and the kernel."""
    return ...


checks.check_input_gradient(input_gradient)

# %% [markdown]
# **2. The gradient of the kernel.** Now with channels: `x` has shape (height, width, channels),
# `dy` has shape (rows, columns, filters). Return `dw` of shape (kernel height, kernel width,
# channels, filters). The size of the kernel follows from the other two.


# %%
def kernel_gradient(x, dy):
    """Return dw, from the input and the gradient of the output."""
    return ...


checks.check_kernel_gradient(kernel_gradient)

# %% [markdown]
# **3. A pooling's way back.** `x` is one image with one channel, pooled by windows of 2×2 that do
# not overlap; `dy` is the gradient of the result. Mind odd sizes, and let the first of equal pixels
# win, row by row.


# %%
def pool_gradient(x, dy):
    """Return dx, from what was pooled and the gradient of the pooled image."""
    return ...


checks.check_pool_gradient(pool_gradient)

# %% [markdown]
# **4. Catch the mutants.** Write a gradient check. `loss` is a function of an array, `w` is the
# place to look at, and `gradient` is what somebody claims to be the gradient there. Answer True if
# it is right and False if it is not. Yours is tried on right gradients, and on five kinds of
# mutants: one element lost, the sign turned, a wrong factor, the kernel flipped, and one element
# wrong by one part in a hundred. The losses are around a millionth, around one, or around a
# million.


# %%
def is_right(loss, w, gradient):
    """Return whether this is the gradient of the loss at w."""
    return ...


checks.check_gradient_check(is_right)

# %% [markdown]
# ## Further reading
#
# - D. E. Rumelhart, G. E. Hinton, R. J. Williams, *Learning representations by back-propagating
#   errors*, 1986. Three pages that made the method known.
# - Y. LeCun, B. Boser, J. S. Denker and others, *Backpropagation applied to handwritten zip code
#   recognition*, 1989. The same, through shared weights.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, *Automatic differentiation in
#   machine learning: a survey*, 2018. How libraries do it for any program, and why nudging is no
#   substitute.
# - V. Dumoulin, F. Visin, *A guide to convolution arithmetic for deep learning*, 2016. The
#   transposed convolution as a layer, with strides and padding.
# - T. P. Lillicrap, D. Cownden, D. B. Tweed, C. J. Akerman, *Random synaptic feedback weights
#   support error backpropagation for deep learning*, 2016. Wrong gradients that learn, on purpose.
# - J. Claerbout, *Earth soundings analysis: processing versus inversion*, 1992. The dot-product
#   test.
#
# **Next:** [12 · Fast on the CPU](12_fast_on_the_cpu.ipynb) computes all this as fast as the
# machine allows.
