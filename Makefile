# Everything here sets itself up: a virtual environment in the clone, the tested versions,
# the package itself. Another Python than python3: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
COMPILED_VENV := .venv-compiled
PY := $(VENV)/bin/python
WORK_DIR := work_dirs/demo
POSE_WORK_DIR := work_dirs/demo_pose
MONO3D_WORK_DIR := work_dirs/demo_3d

SET_UP_FROM := requirements.txt $(wildcard requirements/*.txt) setup.py
# Python compiles what it imports; compiling all of PyTorch takes longer than the rest.
PIP_INSTALL := -m pip install --quiet --no-compile --disable-pip-version-check \
               --constraint requirements/tested.txt
NEEDED := --requirement requirements.txt --requirement requirements/demo.txt \
          --requirement requirements/deploy.txt --requirement requirements/tests.txt \
          --requirement requirements/lint.txt

# Two processes that take one file of tests after the other, one thread each: several threads
# mostly wait for one another, which took most of the time.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile \
         --no-loadscope-reorder

.PHONY: help demo demo-pose demo-3d test lint test-compiled clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo           train a tree detector on real aerial photos and draw what it finds'
	@echo 'make demo-pose      train human pose on drawn figures and draw the skeletons it finds'
	@echo 'make demo-3d        train 3D boxes on drawn road scenes and draw what it finds, also from above'
	@echo 'make test           run the tests'
	@echo 'make lint           run ruff and mypy'
	@echo 'make test-compiled  build mmcv with its compiled operations and run the tests with it'
	@echo 'make clean          remove the environments and caches; data and work_dirs stay'
	@echo 'Another Python than python3:  make PYTHON=python3.12 demo'

# Says in one sentence why a virtual environment cannot be made, if it cannot.
define check_python
@command -v $(PYTHON) >/dev/null || { \
  echo 'error: there is no $(PYTHON): install Python 3.10 to 3.13, or name yours with make PYTHON=...' >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
  echo "error: Python 3.10 to 3.13 is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1): name another with make PYTHON=python3.11 ..." >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
  echo 'error: $(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
endef

# A stamp says that an environment is complete. Without it whatever lies there is the rest of
# an interrupted set-up and is thrown away; while an environment is changed there is none.
define fresh_venv
@[ -f $(@) ] || $(PYTHON) -m venv --clear $(@D)
@rm -f $(@)
endef

# timm comes without torchvision, which it imports but the tests do not need.
# The package is built with the environment's own setuptools: nothing more to fetch. setuptools
# warns at length about what an editable installation is; that is what PYTHONWARNINGS is for.
$(VENV)/.ready: $(SET_UP_FROM)
	$(check_python)
	@echo "Setting up $(VENV) with $$($(PYTHON) -V): the packages, mostly PyTorch, take some minutes ..."
	$(fresh_venv)
	@$(PY) $(PIP_INSTALL) setuptools wheel $(NEEDED)
	@$(PY) $(PIP_INSTALL) --no-deps --requirement requirements/timm.txt
	@PYTHONWARNINGS=ignore $(PY) $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
	@echo '$(VENV) is ready.'

# PyTorch comes before mmcv, which is compiled against it, and setuptools stands in every call:
# without it PyTorch brings one that no longer has pkg_resources, which mmcv's setup.py imports.
$(COMPILED_VENV)/.ready: $(SET_UP_FROM)
	$(check_python)
	@command -v c++ >/dev/null || { \
	  echo 'error: there is no C++ compiler (c++), which building mmcv needs: install one' >&2; exit 1; }
	@echo "Setting up $(COMPILED_VENV) with $$($(PYTHON) -V): packages first, then 8 to 15 minutes of compiling ..."
	$(fresh_venv)
	@$(@D)/bin/python $(PIP_INSTALL) 'setuptools<81' wheel ninja torch numpy
	@echo 'Compiling mmcv ...'
	@MMCV_WITH_OPS=1 $(@D)/bin/python $(PIP_INSTALL) 'setuptools<81' \
	  --no-build-isolation --no-binary mmcv mmcv==2.1.0
	@$(@D)/bin/python $(PIP_INSTALL) 'setuptools<81' --requirement requirements/runtime.txt \
	  --requirement requirements/demo.txt --requirement requirements/deploy.txt \
	  --requirement requirements/tests.txt
	@$(@D)/bin/python $(PIP_INSTALL) --no-deps --requirement requirements/timm.txt
	@PYTHONWARNINGS=ignore $(@D)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
	@echo '$(COMPILED_VENV) is ready.'

demo: $(VENV)/.ready
	@$(PY) tools/demo_data/tree_crowns.py
	@$(PY) tools/train.py configs/centernet_lite0_tree_crowns.py --work-dir $(WORK_DIR)
	@$(PY) tools/test.py configs/centernet_lite0_tree_crowns.py \
	  "$$(cat $(WORK_DIR)/last_checkpoint)" --work-dir $(WORK_DIR)
	@$(PY) tools/demo_pictures.py configs/centernet_lite0_tree_crowns.py \
	  "$$(cat $(WORK_DIR)/last_checkpoint)" --out-dir $(WORK_DIR)

demo-pose: $(VENV)/.ready
	@$(PY) tools/demo_data/figures.py
	@$(PY) tools/train.py configs/centernet_pose_lite0_figures.py --work-dir $(POSE_WORK_DIR)
	@$(PY) tools/test.py configs/centernet_pose_lite0_figures.py \
	  "$$(cat $(POSE_WORK_DIR)/last_checkpoint)" --work-dir $(POSE_WORK_DIR)
	@$(PY) tools/demo_pictures.py configs/centernet_pose_lite0_figures.py \
	  "$$(cat $(POSE_WORK_DIR)/last_checkpoint)" --out-dir $(POSE_WORK_DIR)

demo-3d: $(VENV)/.ready
	@$(PY) tools/demo_data/road_scenes.py
	@$(PY) tools/train.py configs/centernet_mono3d_lite0_road_scenes.py \
	  --work-dir $(MONO3D_WORK_DIR)
	@$(PY) tools/test.py configs/centernet_mono3d_lite0_road_scenes.py \
	  "$$(cat $(MONO3D_WORK_DIR)/last_checkpoint)" --work-dir $(MONO3D_WORK_DIR)
	@$(PY) tools/demo_pictures.py configs/centernet_mono3d_lite0_road_scenes.py \
	  "$$(cat $(MONO3D_WORK_DIR)/last_checkpoint)" --out-dir $(MONO3D_WORK_DIR)

test: $(VENV)/.ready
	@$(PYTEST)

test-compiled: PY := $(COMPILED_VENV)/bin/python
test-compiled: $(COMPILED_VENV)/.ready
	@$(PYTEST)

lint: $(VENV)/.ready
	@$(PY) -m ruff check .
	@$(PY) -m mypy

clean:
	rm -rf $(VENV) $(COMPILED_VENV) build *.egg-info mmdet_centernet/.mim \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mmdet_centernet tools configs tests -name __pycache__ -type d -prune -exec rm -rf {} +
