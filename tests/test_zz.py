import torch
from tests.test_evaluation_candidates import *
def test_a(clip, model, exact):
    from seg2vid.models.layers import _IS_EXACT, fast_arithmetic
    print(_IS_EXACT.get(), fast_arithmetic(torch.device("cpu")))
    g = replace(model, protocol=GENERATION)
    j=g.make(clip,0).frames
    a = model.pipeline(clip.label_map, num_frames=3, seed=1).first_frame
    b = g.pipeline(clip.label_map, num_frames=3, seed=1).first_frame
    c = g.pipeline(clip.label_map, num_frames=3, seed=[0,1]).first_frame
    print((j[1,0]-a[0]).abs().max(),(a-b).abs().max(),(c[1]-a[0]).abs().max(), (c[1]-j[1,0]).abs().max())
    d = model.pipeline(clip.label_map, num_frames=3, seed=1).first_frame
    print((a-d).abs().max())
