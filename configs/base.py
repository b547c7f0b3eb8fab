"""Every key of a run: its default, its unit, where the number comes from.

The defaults are the paper's model (arXiv 2509.23760, SD3-medium's shape) at
512 x 512. Other files here edit a copy of this one; any key can be overridden
with `--config.group.key=value`. "authors" is the released UniAlignment code;
docs/differences.md lists where paper, authors and this project differ.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  config = ml_collections.ConfigDict()
  config.seed = 0  # root of every random stream

  config.model = ml_collections.ConfigDict()
  model = config.model
  model.in_channels = 16  # latent channels C (SD3's VAE)
  model.patch_size = 2  # latents a side of one image token (SD3)
  model.width = 1536  # D, of both streams (SD3-medium)
  model.depth = 24  # joint blocks (SD3-medium)
  model.num_heads = 24  # attention heads of width / num_heads = 64
  model.mlp_ratio = 4  # hidden width of the MLP over D (SD3)
  model.text_dim = 4096  # width of the T5 features (T5-XXL)
  model.vocab_size = 32100  # V, len(tokenizer) of T5 v1.1
  model.pos_embed_size = 192  # side of the fixed position table, patches (SD3)
  model.pos_embed_base = 64  # grid whose range the table spans, patches (SD3)
  model.null_image_tokens = 8  # learned tokens in place of no image (authors)
  model.qk_norm = False  # RMSNorm on queries and keys: SD3.5-medium
  # First blocks, `dual_blocks/` among the parameters, whose image also attends
  # to itself alone (SD3.5-medium: 13, with qk_norm and pos_embed_size = 384).
  model.dual_attention_depth = 0  # blocks, 0 to depth; 0: none (SD3-medium)
  model.align_depth = 8  # block after which features are aligned (paper)
  model.align_hidden = 2048  # hidden width of the alignment heads (authors)
  model.semantic_dim = 3584  # E, width of the Qwen2.5-VL features
  model.scan_layers = True  # False: one Python loop, slower to compile
  model.remat = "none"  # what the backward pass recomputes; see models/mmdit.py
  # "xla", "cudnn" (GPUs), "splash" (TPUs) or "tokamax" (both).
  model.attention = "auto"  # one of these, or by platform
  model.dtype = "bfloat16"  # of activations; parameters and losses are fp32

  config.diffusion = ml_collections.ConfigDict()
  diffusion = config.diffusion
  diffusion.flow_t_mean = 0.0  # of logit(t), t the time of the image (SD3)
  diffusion.flow_t_std = 1.0  # of logit(t) (SD3)
  diffusion.flow_t_grid = 0  # 0: continuous t; 1000: the authors' grid
  diffusion.flow_antithetic = False  # image times spread evenly over a batch
  diffusion.text_t_min = 1e-3  # least time of the text (authors)
  diffusion.text_antithetic = True  # text times spread evenly (authors)
  diffusion.prompt_dropout = 0.1  # probability that a prompt becomes " "

  config.loss = ml_collections.ConfigDict()
  loss = config.loss
  loss.flow_weight = 1.0  # Eq. 5
  loss.text_weight = 0.2  # lambda_1 (paper)
  loss.cross_weight = 0.05  # lambda_2 (paper)
  loss.intrinsic_weight = 0.1  # lambda_3 (paper)
  loss.text_rows = 512  # masked positions a device projects at a time; 0: all
  loss.flow_space = "velocity"  # Eq. 1; "x0" for the authors' t^2 weighting
  loss.cross_direction = "both"  # authors; "image_to_text" is Eq. 3
  loss.cross_temperature = 0.07  # tau of Eq. 3 (authors)
  loss.cross_group_size = 0  # negatives: 0 the global batch; 4 as the authors
  loss.intrinsic_form = "one_minus_cosine"  # or "negative_cosine", Eq. 4
  loss.intrinsic_image = "mean"  # h_image as in the paper; "patches": as REPA

  config.optimizer = ml_collections.ConfigDict()
  optimizer = config.optimizer
  optimizer.learning_rate = 3e-5  # paper
  optimizer.warmup_steps = 2000  # authors
  optimizer.schedule = "constant"  # paper; "cosine" falls to 0 at train.steps
  optimizer.b1 = 0.9  # AdamW (authors)
  optimizer.b2 = 0.999  # AdamW (authors)
  optimizer.eps = 1e-8  # AdamW (authors)
  optimizer.weight_decay = 1e-2  # paper
  optimizer.clip_norm = 2.0  # global gradient norm (authors)
  optimizer.ema_decay = 0.9995  # a step, of the fp32 average (authors)
  optimizer.trainable = (".*",)  # patterns of whole parameter names
  # "bfloat16" also keeps gradients in it: docs/performance.md.
  optimizer.working_dtype = "float32"  # of the copy that gradients are taken of

  config.data = ml_collections.ConfigDict()
  data = config.data
  data.sources = ()  # ((feature set folder, weight), ...): steps by weight
  data.root = ""  # folder that those are in, unless absolute; may be gs://
  data.batch_size = 256  # global, examples a step (paper)
  data.shuffle_seed = 0  # of the order of the records
  data.num_threads = 8  # a host, each reads whole batches
  data.prefetch_batches = 8  # a host, read ahead of the step
  data.max_damaged_records = 10  # a host may meet in a run before it stops
  data.resolution = 512  # side of a picture, pixels (paper)
  data.latent_factor = 8  # pixels a latent along one side (SD3's VAE)
  data.text_length = 256  # L, tokens of prompt and caption (paper)
  data.text_features = "online"  # T5 in the step; "stored": in the records
  data.mask_id = 32099  # token that stands for MASK: T5's <extra_id_0>
  data.max_cond = 4  # most condition images a record may have

  config.encoders = ml_collections.ConfigDict()
  encoders = config.encoders
  encoders.text = ""  # T5, folder or hub id: online features, sampled texts
  encoders.tokenizer = ""  # its tokenizer, folder or hub id
  encoders.mask_embedding = ""  # file with MASK's row (Dual Diffusion); or none
  encoders.image = ""  # VAE, folder or hub id: to decode sample pictures

  config.mesh = ml_collections.ConfigDict()
  config.mesh.data = 1  # devices that share nothing but gradients; slices
  config.mesh.fsdp = -1  # devices that share out the parameters
  config.mesh.tensor = 1  # devices that share out heads and MLP columns
  config.mesh.sequence = 1  # devices that share out the tokens of an example

  config.train = ml_collections.ConfigDict()
  train = config.train
  train.steps = 80_000  # paper, stages 1 and 2
  train.accumulation = 1  # micro-batches a step; InfoNCE stays global
  train.log_every = 50  # steps between two lines of metrics.jsonl
  train.log_records = False  # which records each step had: records.jsonl
  train.checkpoint_every = 1000  # steps
  train.keep_checkpoints = 3  # newest ones that stay on disk
  train.keep_every = 0  # steps between two that stay for ever; 0: no such ones
  train.sample_every = 5000  # steps between two sample grids; 0: none
  # An update is left out where loss or gradient is not finite, or a spike.
  train.max_bad_steps = 10  # such steps in a row that end the run
  # Losses of each source that a limit is made of; 0: none (OLMo, MaxText: 128).
  train.spike_window = 0  # steps of a source, at most 256
  # Where the limit is, in robust deviations above the median of the window.
  train.spike_factor = 10.0  # 6 plain deviations above the mean in OLMo
  # "skip", or "rewind" to the checkpoint, and on with other data (PaLM).
  train.on_spike = "skip"  # what follows a spike
  train.max_rewinds = 3  # to the same checkpoint, before the run is ended
  # A process in which no step ends for that long ends itself, to be restarted.
  train.watchdog_factor = 20.0  # median step times, and at least
  train.watchdog_seconds = 600.0  # seconds; 0: no watchdog
  # XLA's own, an error on a platform that has none of the name: docs/tpu.md.
  train.compiler_options = ()  # ((name, value), ...) for the train step
  train.init_from = ""  # workdir whose weights and EMA a new run begins with

  config.sample = ml_collections.ConfigDict()
  sample = config.sample
  sample.sources = ()  # feature set folders whose first records are shown
  sample.per_source = 8  # pictures and captions from each
  sample.steps = 28  # solver steps (SD3)
  sample.guidance = 7.0  # classifier-free guidance scale, 1 for none (SD3)
  sample.guidance_rescale = 0.0  # 0 none to 1 (arXiv 2305.08891)
  sample.guidance_interval = (0.0, 1.0)  # times at which guidance applies
  sample.shift = 3.0  # timestep shift, 1 for none (SD3)
  sample.solver = "euler"  # or "heun", "dpmpp_2m": see diffusion/flow.py
  sample.text_steps = 64  # unmasking steps (Dual Diffusion)
  sample.text_schedule = "ancestral"  # or "confidence"
  sample.text_temperature = 1.0  # 0 takes the likeliest token
  return config
