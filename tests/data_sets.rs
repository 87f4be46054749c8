//! Data sets of every kind, made here: what they hold, how they are divided, what broken ones say; then real ones.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use tegu::data::{
    Augmentation, Batch, DataSet, Kind, Loader, LoaderOptions, Normalisation, ReadOptions, Split, SplitOptions, Values,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn open(path: &Path) -> DataSet {
    DataSet::open(path, &ReadOptions::default()).unwrap()
}

#[track_caller]
fn refused(path: &Path, options: &ReadOptions, expected: &[&str]) {
    let error = DataSet::open(path, options).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "`{error}` does not say `{part}`");
    }
}

/// A CIFAR-10 file of `count` samples whose labels go round; pixels depend on `salt`.
fn cifar(path: &Path, count: usize, salt: u8) {
    let sample = |at: usize| {
        let pixels = (0..3072).map(move |pixel| (pixel % 251) as u8 ^ (at % 256) as u8 ^ salt);
        std::iter::once((at % 10) as u8).chain(pixels).collect::<Vec<u8>>()
    };
    fs::write(path, (0..count).flat_map(sample).collect::<Vec<u8>>()).unwrap();
}

fn idx(path: &Path, dims: &[u32], bytes: &[u8]) {
    let mut all = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| all.extend(dim.to_be_bytes()));
    all.extend(bytes);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut packed = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), flate2::Compression::fast());
        packed.write_all(&all).unwrap();
        packed.finish().unwrap();
    } else {
        fs::write(path, all).unwrap();
    }
}

/// A grey or coloured image of one value.
fn picture(path: &Path, [height, width]: [u32; 2], grey: bool, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if grey {
        image::GrayImage::from_pixel(width, height, image::Luma([value])).save(path).unwrap();
    } else {
        image::RgbImage::from_pixel(width, height, image::Rgb([value, value / 2, 7])).save(path).unwrap();
    }
}

fn pixels(set: &DataSet) -> Vec<u8> {
    match set.train().samples().values() {
        Values::U8(values) => values.clone(),
        Values::F32(_) => panic!("expected pixels"),
    }
}

#[test]
fn cifar_files_are_divided_by_their_names() {
    let folder = folder();
    let path = folder.path();
    cifar(&path.join("data_batch_1.bin"), 20, 0);
    cifar(&path.join("data_batch_2.bin"), 10, 9);
    cifar(&path.join("test_batch.bin"), 10, 77);
    let set = open(path);
    assert_eq!((set.kind(), set.shape(), set.classes().len()), (Kind::Cifar10, [3, 32, 32], 10));
    assert_eq!((set.train().len(), set.test().unwrap().len()), (30, 10));
    assert_eq!(pixels(&set)[3072..3076], [1, 0, 3, 2]);
    assert_eq!(open(&path.join("test_batch.bin")).train().len(), 10);
    let sized = |size| DataSet::open(path, &ReadOptions { size: Some(size), ..ReadOptions::default() }).unwrap();
    assert_eq!((sized([16, 8]).shape(), sized([16, 8]).test().unwrap().shape()), ([3, 16, 8], [3, 16, 8]));
    assert_eq!(sized([32, 32]).sha256(), set.sha256());

    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    fs::write(path.join("batches.meta.txt"), names).unwrap();
    assert_eq!(open(path).classes()[9], "truck");
    fs::write(path.join("batches.meta.txt"), "airplane\n").unwrap();
    refused(path, &ReadOptions::default(), &["batches.meta.txt", "1 names, expected 10"]);
}

#[test]
fn cifar_100_has_two_labels() {
    let folder = folder();
    let sample = |fine: u8| [7, fine].into_iter().chain((0..3072).map(move |at| (at % 256) as u8 ^ fine));
    fs::write(folder.path().join("train.bin"), [3, 99].into_iter().flat_map(sample).collect::<Vec<u8>>()).unwrap();
    let set = open(folder.path());
    assert_eq!((set.kind(), set.train().labels(), set.classes().len()), (Kind::Cifar100, vec![3, 99], 100));
}

#[test]
fn broken_cifar_files_are_named() {
    let folder = folder();
    let file = folder.path().join("data_batch_1.bin");
    cifar(&file, 3, 0);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..5000]).unwrap();
    refused(folder.path(), &ReadOptions::default(), &["data_batch_1.bin", "5000 bytes", "3073", "truncated"]);
    let mut wrong = whole.clone();
    wrong[3073] = 10;
    fs::write(&file, wrong).unwrap();
    refused(folder.path(), &ReadOptions::default(), &["data_batch_1.bin", "sample 1 has label 10", "below 10"]);
    fs::write(&file, &whole[..3073]).unwrap();
    refused(folder.path(), &ReadOptions::default(), &["all samples are of class `0`", "two classes"]);
}

#[test]
fn idx_files_are_read_plain_and_packed() {
    for ending in ["", ".gz"] {
        let folder = folder();
        let file = |name: &str| folder.path().join(format!("{name}{ending}"));
        idx(&file("train-images-idx3-ubyte"), &[3, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        idx(&file("train-labels-idx1-ubyte"), &[3], &[1, 0, 2]);
        idx(&file("t10k-images-idx3-ubyte"), &[1, 2, 2], &[9, 9, 9, 9]);
        idx(&file("t10k-labels-idx1-ubyte"), &[1], &[2]);
        let set = open(folder.path());
        assert_eq!((set.kind(), set.shape(), set.classes().len()), (Kind::Idx, [1, 2, 2], 3));
        assert_eq!((set.train().labels(), set.test().unwrap().labels()), (vec![1, 0, 2], vec![2]));
        assert_eq!(pixels(&set), (0..12).collect::<Vec<u8>>());

        idx(&file("t10k-labels-idx1-ubyte"), &[1], &[3]);
        refused(folder.path(), &ReadOptions::default(), &["the test part has label 3", "below 3"]);
        idx(&file("t10k-labels-idx1-ubyte"), &[2], &[0, 1]);
        refused(folder.path(), &ReadOptions::default(), &["t10k-labels", "2 labels, expected 1"]);
        idx(&file("train-images-idx3-ubyte"), &[3, 2, 2], &[0; 11]);
        refused(folder.path(), &ReadOptions::default(), &["train-images", "11 bytes", "3×2×2", "truncated"]);
        idx(&file("train-images-idx3-ubyte"), &[3, 4], &[0; 12]);
        refused(folder.path(), &ReadOptions::default(), &["train-images", "begins with `00000802`", "`00000803`"]);
        fs::remove_file(file("train-labels-idx1-ubyte")).unwrap();
        refused(folder.path(), &ReadOptions::default(), &["train-images", "labels are missing"]);
    }
    let folder = folder();
    fs::write(folder.path().join("train-images-idx3-ubyte.gz"), b"not packed").unwrap();
    fs::write(folder.path().join("train-labels-idx1-ubyte.gz"), b"not packed").unwrap();
    refused(folder.path(), &ReadOptions::default(), &["train-images-idx3-ubyte.gz", "can't be unpacked"]);
}

#[test]
fn folders_of_images_are_decoded_in_the_order_of_their_names() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    for (name, value) in [("b/2.png", 4), ("a/1.png", 1), ("a/2.jpg", 200), ("b/1.PNG", 3)] {
        picture(&file(name), [4, 6], false, value);
    }
    fs::write(file("a/notes.txt"), "ignored").unwrap();
    let set = open(folder.path());
    assert_eq!((set.kind(), set.shape()), (Kind::Folders, [3, 4, 6]));
    assert_eq!((set.classes().join(" "), set.train().labels()), ("a b".into(), vec![0, 0, 1, 1]));
    let values = pixels(&set);
    assert_eq!((values[0], values[2 * 24], values[2 * 72], values[3 * 72], values[3 * 72 + 24]), (1, 7, 3, 4, 2));
    assert!(values[72].abs_diff(200) < 4, "JPEG is not exact, {} is far from 200", values[72]);

    let smaller = ReadOptions { size: Some([2, 2]), channels: Some(1), ..ReadOptions::default() };
    let set = DataSet::open(folder.path(), &smaller).unwrap();
    assert_eq!((set.shape(), set.train().len()), ([1, 2, 2], 4));

    picture(&file("b/3.png"), [4, 5], false, 1);
    refused(folder.path(), &ReadOptions::default(), &["3.png", "4×5, expected 4×6", "1.png", "`size`"]);
    let sized = ReadOptions { size: Some([3, 3]), ..ReadOptions::default() };
    assert_eq!(DataSet::open(folder.path(), &sized).unwrap().train().len(), 5);
    fs::write(file("b/3.png"), &fs::read(file("b/2.png")).unwrap()[..40]).unwrap();
    refused(folder.path(), &ReadOptions::default(), &["3.png", "can't be decoded"]);
    fs::remove_file(file("b/3.png")).unwrap();
    fs::create_dir(file("c")).unwrap();
    refused(folder.path(), &ReadOptions::default(), &["/c: the class has no image"]);
}

#[test]
fn folders_have_parts() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    for (at, name) in ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"].iter().enumerate() {
        picture(&file(name), [2, 2], true, at as u8);
    }
    // Without `test`, `val` is what tests: its labels belong to nobody else.
    let set = open(folder.path());
    assert_eq!((set.shape(), set.train().len(), set.test().unwrap().len()), ([1, 2, 2], 2, 2));
    assert!(set.validation().is_none());
    picture(&file("test/a/1.png"), [2, 2], true, 9);
    picture(&file("test/b/1.png"), [2, 2], false, 10);
    let set = open(folder.path());
    assert_eq!((set.validation().unwrap().len(), set.test().unwrap().len()), (2, 2));
    fs::rename(file("test/b"), file("test/bee")).unwrap();
    refused(folder.path(), &ReadOptions::default(), &["test: it has the class `bee`"]);
    fs::remove_dir_all(file("test")).unwrap();
    picture(&file("val/b/1.png"), [2, 3], true, 9);
    refused(folder.path(), &ReadOptions::default(), &["val", "2×3"]);
    fs::remove_dir_all(file("train/b")).unwrap();
    refused(folder.path(), &ReadOptions::default(), &["train: found one class alone, `a`"]);
}

/// Written by numpy 2.4: tests/data/arrays.py.
#[test]
fn numpy_archives_are_read() {
    let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    for name in ["arrays.npz", "arrays_packed.npz"] {
        let set = open(&data(name));
        assert_eq!((set.kind(), set.shape()), (Kind::Npz, [3, 2, 5]));
        assert_eq!((set.train().labels(), set.test().unwrap().labels()), (vec![0, 1, 2, 1], vec![2, 0]));
        // arange(4 * 2 * 5 * 3) with channels last: the first plane has every third.
        assert_eq!(pixels(&set)[..12], [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 1, 4]);
    }
    let features = open(&data("features.npz"));
    assert_eq!((features.shape(), features.train().labels()), ([4, 1, 1], vec![1, 0, 1]));
    let signals = |shape| ReadOptions { shape: Some(shape), ..ReadOptions::default() };
    let set = DataSet::open(&data("features.npz"), &signals([2, 1, 2])).unwrap();
    assert_eq!((set.shape(), set.train().labels()), ([2, 1, 2], vec![1, 0, 1]));
    refused(&data("features.npz"), &signals([3, 1, 2]), &["shape", "[3, 1, 2]", "as many numbers as samples of"]);
    let Values::F32(values) = features.train().samples().values().clone() else { panic!("expected floats") };
    assert_eq!(values[..5], [0.0, 0.5, 1.0, 1.5, 2.0]);

    let folder = folder();
    let file = folder.path().join("a.npz");
    let whole = fs::read(data("arrays.npz")).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    refused(&file, &ReadOptions::default(), &["a.npz", "no directory at its end", "truncated"]);
    let mut damaged = whole.clone();
    damaged[200] ^= 1;
    fs::write(&file, damaged).unwrap();
    refused(&file, &ReadOptions::default(), &["a.npz: array `x_train`", "checksum"]);
    refused(&data("other_names.npz"), &ReadOptions::default(), &["it has the arrays a, b", "`x_train`, `y_train`"]);
    refused(
        &data("other_counts.npz"),
        &ReadOptions::default(),
        &["arrays `x` and `y`", "expected 3 as there are labels"],
    );
    refused(&data("fortran.npz"), &ReadOptions::default(), &["array `x`", "Fortran"]);
}

#[test]
fn tables_are_read() {
    let folder = folder();
    let file = folder.path().join("a.csv");
    let with = |text: &str| fs::write(&file, text).unwrap();
    with("width, label,height\n1,cat,0.5\n2,dog,1e-3\n3,cat,4\n");
    let set = open(&file);
    assert_eq!((set.kind(), set.shape(), set.train().labels()), (Kind::Csv, [2, 1, 1], vec![0, 1, 0]));
    assert_eq!(set.classes(), ["cat", "dog"]);
    assert_eq!(*set.train().samples().values(), Values::F32(vec![1.0, 0.5, 2.0, 1e-3, 3.0, 4.0]));
    let shaped = ReadOptions { shape: Some([1, 1, 2]), ..ReadOptions::default() };
    assert_eq!(DataSet::open(&file, &shaped).unwrap().shape(), [1, 1, 2]);
    let misshaped = ReadOptions { shape: Some([1, 2, 2]), ..ReadOptions::default() };
    refused(&file, &misshaped, &["shape: found [1, 2, 2]", "product of 2"]);
    let of_width = ReadOptions { label: Some("width".into()), ..ReadOptions::default() };
    refused(&file, &ReadOptions { size: Some([2, 2]), ..ReadOptions::default() }, &["size", "rows of features"]);
    refused(&file, &of_width, &["line 2, column `label`: found `cat`, expected a number"]);
    refused(
        &file,
        &ReadOptions { label: Some("age".into()), ..ReadOptions::default() },
        &["width, label, height", "`age`"],
    );

    // Numbers are classes in their own order.
    with("a,y\n1,10\n2,9\n3,9.0\n");
    assert_eq!((open(&file).classes().join(" "), open(&file).train().labels()), ("9 10".into(), vec![1, 0, 0]));
    with("a,y\n1,0\n2\n");
    refused(&file, &ReadOptions::default(), &["a.csv", "not a table", "line: 3"]);
    with("a,y\n1,0\nNaN,1\n");
    refused(&file, &ReadOptions::default(), &["sample 1", "NaN"]);
    with("1,2\n3,4\n");
    refused(&file, &ReadOptions::default(), &["first line is `1, …`", "names of the columns"]);
    with("a,y\n");
    refused(&file, &ReadOptions::default(), &["0 rows"]);

    fs::rename(&file, folder.path().join("train.csv")).unwrap();
    fs::write(folder.path().join("train.csv"), "a,y\n1,no\n2,yes\n").unwrap();
    fs::write(folder.path().join("test.csv"), "a,y\n3,yes\n").unwrap();
    assert_eq!(open(folder.path()).test().unwrap().labels(), [1]);
    fs::write(folder.path().join("test.csv"), "a,y\n3,perhaps\n").unwrap();
    refused(folder.path(), &ReadOptions::default(), &["label `perhaps`", "no, yes"]);
}

#[test]
fn what_is_no_data_says_what_was_expected() {
    let folder = folder();
    refused(folder.path(), &ReadOptions::default(), &["the folder is empty", "class/*.png"]);
    fs::write(folder.path().join("a.txt"), "").unwrap();
    refused(folder.path(), &ReadOptions::default(), &["1 files like `a.txt`", "CIFAR"]);
    refused(&folder.path().join("a.txt"), &ReadOptions::default(), &["a.txt", "tells no kind"]);
    refused(&folder.path().join("nothing"), &ReadOptions::default(), &["nothing", "No such file"]);
    let kind = |kind| ReadOptions { kind: Some(kind), ..ReadOptions::default() };
    refused(folder.path(), &kind(Kind::Cifar10), &["no `.bin` file"]);
    refused(folder.path(), &kind(Kind::Idx), &["train-images-idx3-ubyte"]);
    refused(folder.path(), &kind(Kind::Csv), &["no `train.csv`"]);
    refused(folder.path(), &kind(Kind::Folders), &["found no folder"]);
    refused(folder.path(), &kind(Kind::Npz), &["Is a directory"]);
    refused(folder.path(), &ReadOptions { channels: Some(2), ..ReadOptions::default() }, &["channels: found 2"]);
}

fn split(set: &DataSet, validation: f64, test: f64, seed: u64) -> Split {
    set.split(&SplitOptions { validation, test, seed }).unwrap()
}

#[test]
fn parts_are_stratified_seeded_and_share_no_sample() {
    let folder = folder();
    cifar(&folder.path().join("data_batch_1.bin"), 200, 0);
    let set = open(folder.path());
    let parts = split(&set, 0.2, 0.1, 3);
    let [train, validation, test] = [Some(parts.train), parts.validation, parts.test].map(Option::unwrap);
    assert_eq!([train.len(), validation.len(), test.len()], [140, 40, 20]);
    for label in 0..10 {
        assert_eq!(validation.labels().iter().filter(|&&found| found == label).count(), 4);
    }
    let mut all = [train.indices(), validation.indices(), test.indices()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<u32>>());
    assert_eq!(split(&set, 0.2, 0.1, 3).validation.unwrap().indices(), validation.indices());
    assert_ne!(split(&set, 0.2, 0.1, 4).validation.unwrap().indices(), validation.indices());
    assert!(split(&set, 0.0, 0.0, 3).validation.is_none());
    let wrong = set.split(&SplitOptions { validation: 1.5, ..SplitOptions::default() }).unwrap_err().to_string();
    assert_eq!(wrong, "validation: found 1.5, expected a share from 0 to below 1");
}

/// Copies of test samples are not trained on, and copies within the training part stay on one side.
#[test]
fn copies_do_not_leak() {
    let folder = folder();
    let path = folder.path();
    cifar(&path.join("data_batch_1.bin"), 200, 0);
    let samples = fs::read(path.join("data_batch_1.bin")).unwrap();
    // The first 100 occur twice in training; the last 20 are the test's.
    fs::write(path.join("data_batch_2.bin"), &samples[..100 * 3073]).unwrap();
    fs::write(path.join("test_batch.bin"), &samples[180 * 3073..]).unwrap();
    let set = open(path);
    let parts = split(&set, 0.25, 0.0, 1);
    let validation = parts.validation.unwrap();
    assert_eq!((parts.left_out, parts.train.len(), validation.len()), (20, 210, 70));
    assert!(validation.indices().iter().all(|index| (100..180).contains(index)));
    assert!(parts.train.indices().iter().all(|index| !(180..200).contains(index)));

    fs::write(path.join("test_batch.bin"), &samples[..100 * 3073]).unwrap();
    fs::remove_file(path.join("data_batch_1.bin")).unwrap();
    let error = open(path).split(&SplitOptions::default()).unwrap_err().to_string();
    assert!(error.contains("class `0`") && error.contains("no sample to train on"), "{error}");
}

#[test]
fn normalisation_is_of_the_training_part_alone() {
    let folder = folder();
    let path = folder.path();
    cifar(&path.join("data_batch_1.bin"), 100, 0);
    cifar(&path.join("test_batch.bin"), 20, 200);
    let fitted = |path: &Path| Normalisation::fit(&split(&open(path), 0.2, 0.0, 5).train);
    let normalisation = fitted(path);
    // Whatever the test part holds.
    cifar(&path.join("test_batch.bin"), 20, 160);
    assert_eq!(fitted(path), normalisation);

    let part = split(&open(path), 0.2, 0.0, 5).train;
    let loader = Loader::new(part, normalisation, LoaderOptions { batch: 33, ..LoaderOptions::default() }).unwrap();
    let batches: Vec<Batch> = loader.in_order().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.images.dim(0).unwrap()).collect::<Vec<_>>(), [33, 33, 14]);
    let images: Vec<_> = batches.iter().map(|batch| batch.images.clone()).collect();
    let images = candle_core::Tensor::cat(&images, 0).unwrap().transpose(0, 1).unwrap().flatten_from(1).unwrap();
    for (mean, variance) in images
        .mean(1)
        .unwrap()
        .to_vec1::<f32>()
        .unwrap()
        .into_iter()
        .zip(images.var(1).unwrap().to_vec1::<f32>().unwrap())
    {
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
    }
}

/// All bits of the batches of an epoch.
fn bits(batches: impl Iterator<Item = Result<Batch, tegu::data::DataError>>) -> Vec<Vec<u32>> {
    let floats = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let of = |batch: Batch| {
        let values = [floats(&batch.images), floats(&batch.targets)].concat();
        let labels = batch.labels.to_vec1::<u32>().unwrap();
        values.into_iter().map(f32::to_bits).chain(labels).collect()
    };
    batches.map(|batch| of(batch.unwrap())).collect()
}

const ALL: Augmentation = Augmentation { flip: 0.5, crop: 4, cutout: 8, erasing: 0.5, mixup: 0.4 };

fn augmented(path: &Path, workers: usize, augmentation: Augmentation) -> Loader {
    let part = open(path).train();
    let normalisation = Normalisation::fit(&part);
    let options = LoaderOptions { batch: 16, augmentation, seed: 11, workers, ..LoaderOptions::default() };
    Loader::new(part, normalisation, options).unwrap()
}

#[test]
fn batches_are_the_same_on_any_number_of_threads_and_from_any_batch_on() {
    let folder = folder();
    cifar(&folder.path().join("data_batch_1.bin"), 100, 0);
    let one = augmented(folder.path(), 1, ALL);
    let expected = bits(one.epoch(2, 0));
    assert_eq!((expected.len(), one.batches_per_epoch(), one.epoch(2, 4).len()), (6, 6, 2));
    for workers in [2, 3, 8] {
        assert_eq!(bits(augmented(folder.path(), workers, ALL).epoch(2, 0)), expected, "{workers} workers");
        assert_eq!(bits(augmented(folder.path(), workers, ALL).epoch(2, 4)), expected[4..], "{workers} workers");
    }
    assert_ne!(bits(one.epoch(3, 0)), expected);
    assert_eq!(one.epoch(2, 99).count(), 0);
    // Who stops early waits for nobody.
    drop(one.epoch(0, 0));
    drop(one.epoch(0, 0).next());
}

#[test]
fn an_epoch_has_every_sample_once() {
    let folder = folder();
    cifar(&folder.path().join("data_batch_1.bin"), 96, 0);
    let loader = augmented(folder.path(), 2, Augmentation::default());
    let rows = |batches: Vec<Vec<u32>>| {
        let mut rows: Vec<Vec<u32>> =
            batches.iter().flat_map(|batch| batch[..16 * 3072].chunks(3072)).map(<[u32]>::to_vec).collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(bits(loader.epoch(7, 0))), rows(bits(loader.in_order())));
    assert_ne!(bits(loader.epoch(7, 0)), bits(loader.in_order()));
}

#[test]
fn mixed_samples_have_mixed_targets() {
    let folder = folder();
    cifar(&folder.path().join("data_batch_1.bin"), 64, 0);
    let plain = augmented(folder.path(), 2, Augmentation::default());
    let mixed = augmented(folder.path(), 2, Augmentation { mixup: 1.0, ..Augmentation::default() });
    let mut shares = vec![];
    for (plain, mixed) in plain.epoch(0, 0).zip(mixed.epoch(0, 0)) {
        let (plain, mixed) = (plain.unwrap(), mixed.unwrap());
        let targets = mixed.targets.to_vec2::<f32>().unwrap();
        let labels = mixed.labels.to_vec1::<u32>().unwrap();
        assert_eq!(labels, plain.labels.to_vec1::<u32>().unwrap());
        let images = |batch: &Batch| batch.images.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        let (before, after) = (images(&plain), images(&mixed));
        for (at, target) in targets.iter().enumerate() {
            let share = target[labels[at] as usize];
            let other = 15 - at;
            if labels[at] == labels[other] {
                continue;
            }
            assert!((0.5..=1.0).contains(&share) && (target.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{target:?}");
            let expected = share * before[at][40] + (1.0 - share) * before[other][40];
            assert!((after[at][40] - expected).abs() < 1e-5, "{} is not {expected}", after[at][40]);
            shares.push(share);
        }
    }
    // λ is uniform for α = 1; the larger of λ and 1 − λ is .75 on average.
    let mean = shares.iter().sum::<f32>() / shares.len() as f32;
    assert!((mean - 0.75).abs() < 0.06, "{mean}");
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let folder = folder();
    cifar(&folder.path().join("data_batch_1.bin"), 20, 0);
    let part = open(folder.path()).train();
    let normalisation = Normalisation::fit(&part);
    let check = |augmentation: Augmentation, batch: usize, expected: &str| {
        let options = LoaderOptions { augmentation, batch, ..LoaderOptions::default() };
        let error = Loader::new(part.clone(), normalisation.clone(), options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let none = Augmentation::default();
    check(none, 0, "batch: found 0");
    check(Augmentation { crop: 33, ..none }, 1, "crop: found 33, expected at most the image's side of 32");
    check(Augmentation { flip: 1.5, ..none }, 1, "flip: found 1.5");
    check(Augmentation { mixup: f64::NAN, ..none }, 1, "mixup: found NaN");
    let text = "flip: 0.5\ncutuot: 8\n";
    let error = tegu::yaml::parse::<Augmentation>(text, Path::new("a.yaml")).unwrap_err().to_string();
    assert!(error.contains("a.yaml:2:1") && error.contains("did you mean `cutout`"), "{error}");
}

#[test]
fn digests_are_of_samples_not_of_files() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    cifar(&file("a.bin"), 20, 0);
    let one = open(&file("a.bin")).sha256().to_owned();
    assert_eq!((one.len(), open(folder.path()).sha256()), (64, one.as_str()));
    cifar(&file("a.bin"), 20, 1);
    assert_ne!(open(folder.path()).sha256(), one);
}

#[test]
fn cifar_10_of_the_data_folder() {
    let Some(path) = common::data("images") else { return };
    let set = open(&path);
    assert_eq!((set.kind(), set.train().len(), set.test().unwrap().len()), (Kind::Cifar10, 10_000, 2_000));
    let parts = split(&set, 0.1, 0.0, 0);
    assert_eq!(parts.validation.as_ref().unwrap().len() + parts.train.len() + parts.left_out, 10_000);
    let normalisation = Normalisation::fit(&parts.train);
    // CIFAR-10's own are .491 .482 .447 and .247 .243 .262.
    for (found, expected) in normalisation.mean.iter().zip([0.491, 0.482, 0.447]) {
        assert!((found - expected).abs() < 0.01, "{normalisation:?}");
    }
    for (found, expected) in normalisation.deviation.iter().zip([0.247, 0.243, 0.262]) {
        assert!((found - expected).abs() < 0.01, "{normalisation:?}");
    }
}

#[test]
fn fashion_mnist_of_debian() {
    let Some(path) = common::fashion_mnist() else { return };
    let set = open(&path);
    assert_eq!((set.shape(), set.train().len(), set.test().unwrap().len()), ([1, 28, 28], 60_000, 10_000));
    assert_eq!(
        (set.train().labels()[..5].to_vec(), set.test().unwrap().labels()[..3].to_vec()),
        (vec![9, 0, 0, 3, 0], vec![9, 2, 1])
    );
    // numpy: .2860, .3530
    let normalisation = Normalisation::fit(&set.train());
    assert!((normalisation.mean[0] - 0.2860).abs() < 1e-4 && (normalisation.deviation[0] - 0.3530).abs() < 1e-4);
}
