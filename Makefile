# Everything runs from a bare clone: every target installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# OpenMP threads that spin on shared cores make small operations many times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help bundles docs notebooks demo test quick fuzz lint wheel-check bench bench-gpu bench-phantom bench-tutorials tutorial-pictures clean data/ACDC data/PROMISE12 data/PROSTATE data/BRATS docs/images/demo.png docs/images/demo-report.png docs/images/demo-browse.png

CONFIGS := bundles/acdc_logbarrier/configs
DEMO := --dataset_dir data/PHANTOM --max_epochs 20 --epoch_iterations null

help:
	@echo "make demo           train, evaluate and report on generated cardiac volumes (about 10 minutes on 2 cores)"
	@echo "make test           the test suite;  make quick: all but its slow tests"
	@echo "make lint           ruff, mypy and no stale file of a bundle"
	@echo "make docs           the documentation as a site, build/site/html; a link that leads nowhere is an error"
	@echo "make notebooks      docs/notebooks from the pages of docs/tutorials"
	@echo "make fuzz           malformed and hostile inputs, counted (benchmarks/robustness.py; half an hour on 2 cores)"
	@echo "make bundles        write what the bundles ship from their sources"
	@echo "make bench          speed, side by side;  make bench-phantom: four modes x three seeds"
	@echo "make bench-gpu      on a machine with a GPU: is all of it right there, how fast, what Dice (benchmarks/gpu.sh)"
	@echo "make bench-tutorials  the toys of the tutorials;  make tutorial-pictures: the figures of docs/tutorials"
	@echo "make data/PHANTOM   generated cardiac volumes;  make data/ACDC SOURCE=acdc.zip: the official release"
	@echo "make data/TOY       toy pictures of the tutorials: a disc;  data/TOY2: two circles;  data/TOY2019: the 2019 disc"
	@echo "make data/PROMISE12 SOURCE=\"training_data.zip ...\"; make data/PROMISE12_POINTS: a few pixels a slice of it"
	@echo "make data/PROMISE12_PHANTOM   generated prostate volumes in the release's layout, with a few pixels a slice"
	@echo "make data/PROSTATE SOURCE=Task05_Prostate.tar;  make data/BRATS SOURCE=folder: releases with several modalities"
	@echo "make wheel-check    from a wheel to predictions, in a fresh environment in another folder (some gigabytes)"
	@echo "make clean          remove caches and runs (data and .venv stay)"

$(STAMP): setup.cfg constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[dev,export]" -c constraints.txt
	touch $@

# Files run side by side, the long ones first; one thread each.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
test: $(STAMP)
	$(PYTEST)

# What runs between two commits: all but tests that train, generate volumes, start processes or differentiate large inputs.
quick: $(STAMP)
	$(PYTEST) -m "not slow"

# SEED=7, COUNT=400 inputs a part, PARTS="json bounds": what is drawn, how much, and which parts.
fuzz: $(STAMP)
	$(PY) -W ignore benchmarks/robustness.py --seed $(or $(SEED),7) --count $(or $(COUNT),400) $(if $(PARTS),--parts $(PARTS))

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) bundles/make.py --check

# What the bundles ship, from bundles/frame and the bundle.yaml and source of each; see bundles/make.py.
bundles: $(STAMP)
	$(PY) bundles/make.py

# What docs/how-to/install.md says, done. Its own environments, in a temporary folder: nothing of .venv.
wheel-check:
	PYTHON=$(PYTHON) .ci/wheel-check

# The site needs the network for what pip installs, and then never again. Search wants a server, reading does not.
docs: $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[docs]" -c constraints.txt
	$(PY) docs/make_site.py
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet --config-file build/site/mkdocs.yml
	@echo "open build/site/html/index.html, or to search: $(PY) -m http.server --directory build/site/html"

notebooks: $(STAMP)
	$(PY) docs/make_notebooks.py

# Two modes on generated hearts, side by side.
demo: $(STAMP) data/PHANTOM
	@for mode in partial logbarrier; do \
		out=runs/demo/$$mode; rm -rf $$out; \
		echo "== train $$mode"; \
		$(PY) -W ignore -m monai.bundle run training --config_file "['$(CONFIGS)/train.yaml','$(CONFIGS)/cpu.yaml']" \
			--mode $$mode --output_dir $$out $(DEMO) || exit 1; \
		echo "== evaluate and predict $$mode on unseen patients"; \
		$(PY) -W ignore -m monai.bundle run evaluating \
			--config_file "['$(CONFIGS)/train.yaml','$(CONFIGS)/cpu.yaml','$(CONFIGS)/evaluate.yaml']" \
			--mode $$mode --output_dir $$out $(DEMO) || exit 1; \
	done
	$(PY) -m wss_monai report html --runs runs/demo/partial runs/demo/logbarrier --out runs/demo/report.html --browse
	@echo "Open runs/demo/report.html; it leads to runs/demo/browse.html, all slices of all cases"

docs/images/demo.png: $(STAMP)
	$(PY) benchmarks/picture.py --out $@

# The pictures of docs/tutorials, from seed 0 of benchmarks/toy_size.py and benchmarks/toy_logbarrier.py and from the
# commands of docs/tutorials/acdc-size.md.
TOY1 := runs/toy_size/unconstrained_s0 runs/toy_size/constrained_s0
TOY2 := runs/toy_logbarrier/quadratic_s0 runs/toy_logbarrier/logbarrier_s0
HEART := runs/acdc_size/full runs/acdc_size/unconstrained runs/acdc_size/constrained
SCREENSHOT := chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=3000
# The two pages of make demo.
docs/images/demo-report.png:
	$(SCREENSHOT) --window-size=1280,1180 --screenshot=$@ runs/demo/report.html
docs/images/demo-browse.png:
	$(SCREENSHOT) --window-size=1280,800 --screenshot=$@ runs/demo/browse.html

tutorial-pictures: $(STAMP)
	$(PY) -m wss_monai report gif --runs $(TOY1) --case val_0001 --out docs/images/toy-discs.gif
	$(PY) -m wss_monai report curves --runs runs/toy_size/full_s0 $(TOY1) --out docs/images/toy-discs-curves.png
	$(PY) -m wss_monai report browse --runs runs/toy_size/full_s0 $(TOY1) --out runs/toy_size/browse.html
	$(SCREENSHOT) --window-size=1200,340 --screenshot=docs/images/toy-discs-browse.png runs/toy_size/browse.html
	$(PY) -m wss_monai report gif --runs $(TOY2) --out docs/images/two-circles.gif
	$(PY) -m wss_monai report curves --runs $(TOY2) --out docs/images/two-circles-curves.png \
		--columns val_dice violation_size violation_centroid
	$(PY) -m wss_monai report compare --runs $(HEART) --out docs/images/acdc-size-compare.png
	$(PY) -m wss_monai report browse --runs $(HEART) --crop 20 --out runs/acdc_size/browse.html
	$(SCREENSHOT) --window-size=1200,720 --screenshot=docs/images/acdc-size-browse.png runs/acdc_size/browse.html

bench: $(STAMP)
	$(PY) benchmarks/speed.py

# On a bare machine, without installing anything: benchmarks/gpu.sh (see there how it is packed).
bench-gpu: $(STAMP)
	benchmarks/gpu.sh $(GPU)

bench-tutorials: $(STAMP)
	$(PY) benchmarks/toy_size.py
	$(PY) benchmarks/toy_logbarrier.py

bench-phantom: $(STAMP) data/PHANTOM
	$(PY) benchmarks/run.py phantom

data/PHANTOM: | $(STAMP)
	$(PY) -m wss_monai synthesize cardiac --out $@ --patients 24 --seed 0

# The toy pictures of the constrained-losses tutorials, with the tutorials' numbers.
data/TOY: | $(STAMP)
	$(PY) -m wss_monai synthesize toy --out $@ --images 10 10 --radius 50 --seed 0

data/TOY2: | $(STAMP)
	$(PY) -m wss_monai synthesize two-circles --out $@ --images 1000 100 --radius 25 --seed 0

data/TOY2019: | $(STAMP)
	$(PY) -m wss_monai synthesize toy --out $@ --images 10 10 --radius 50 --seed 0 --edition 2019

# make data/ACDC SOURCE=acdc.zip [SCRIBBLES=folder]
data/ACDC: $(STAMP)
	@test -n "$(SOURCE)" || { echo "give the official release: make data/ACDC SOURCE=acdc.zip [SCRIBBLES=folder]"; exit 2; }
	$(PY) -m wss_monai prepare acdc --source "$(SOURCE)" --out $@ $(if $(SCRIBBLES),--scribbles "$(SCRIBBLES)")

# make data/PROMISE12 SOURCE="training_data.zip test_data.zip"
data/PROMISE12: $(STAMP)
	@test -n "$(SOURCE)" || { echo "give the official release: make data/PROMISE12 SOURCE=training_data.zip"; exit 2; }
	$(PY) -m wss_monai prepare promise12 --source $(SOURCE) --out $@

# make data/PROSTATE SOURCE=Task05_Prostate.tar
data/PROSTATE: $(STAMP)
	@test -n "$(SOURCE)" || { echo "give task 5 of the Decathlon: make data/PROSTATE SOURCE=Task05_Prostate.tar"; exit 2; }
	$(PY) -m wss_monai prepare decathlon --task 5 --source "$(SOURCE)" --out $@

# make data/BRATS SOURCE=MICCAI_BraTS_2019_Data_Training [MODALITIES="flair t1ce"]
data/BRATS: $(STAMP)
	@test -n "$(SOURCE)" || { echo "give the unpacked release: make data/BRATS SOURCE=folder [MODALITIES=\"flair t1ce\"]"; exit 2; }
	$(PY) -m wss_monai prepare brats --source "$(SOURCE)" --out $@ $(if $(MODALITIES),--modalities $(MODALITIES))

POINTS := --strategy random_blob --option width=5 --background --seed 0

# The published weak labels: a spot of 5 pixels width in every slice, here one of the background as well.
data/PROMISE12_POINTS: | $(STAMP)
	$(PY) -m wss_monai weaken --data data/PROMISE12 --out $@ $(POINTS)

data/PROMISE12_PHANTOM: | $(STAMP)
	$(PY) -m wss_monai synthesize promise12 --out $@/release --cases 12 --seed 0
	$(PY) -m wss_monai prepare promise12 --source $@/release --out $@/dense
	$(PY) -m wss_monai weaken --data $@/dense --out $@ $(POINTS)

clean:
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
